# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Signals are noted during the block and take effect after it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tam_ros.recordings.interruption import Interruption


def test_without_a_signal():
    with Interruption() as interruption:
        assert not interruption.requested
    interruption.raise_if_requested()


def test_ctrl_c_waits_for_the_end_of_the_block():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        interruption.raise_if_requested()


def test_terminate():
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit) as error:
        interruption.raise_if_requested()
    assert error.value.code == 128 + signal.SIGTERM


def test_handlers_are_restored_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match='disk'), Interruption():
        raise ValueError('disk')
    assert signal.getsignal(signal.SIGTERM) is before


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interruption.requested
        interruption.raise_if_requested()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_catch_no_signals():
    seen = []

    def work():
        with Interruption() as interruption:
            seen.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
