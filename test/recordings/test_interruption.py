# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Signals are noted during the block and take effect after it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tam_ros.recordings.interruption import Interruption, ending_by_exception


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


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """Keep the terminal of the tests."""
    monkeypatch.setattr('tam_ros.recordings.interruption._forget_terminal', lambda: None)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_terminate(number):
    with Interruption() as interruption:
        os.kill(os.getpid(), number)
    with pytest.raises(SystemExit) as error:
        interruption.raise_if_requested()
    assert error.value.code == 128 + number


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_ending_by_exception(number):
    cleaned = []
    with pytest.raises(SystemExit) as error, ending_by_exception():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)  # a second one does not interrupt the end
            cleaned.append(True)
    assert error.value.code == 128 + number and cleaned
    assert signal.getsignal(number) is signal.SIG_DFL


def test_nohup_stays_in_force():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_by_exception(), Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


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
