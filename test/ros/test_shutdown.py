# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The end of the node: signals, in this process."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from tam_ros.ros.shutdown import SIGNALS, EndSignals

TRIES = 10


@pytest.fixture
def executor(ros):
    """An executor with a node that has nothing to do; and this process as it was."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    node, executor = Node('idle'), SingleThreadedExecutor()
    executor.add_node(node)
    yield executor
    executor.shutdown()
    node.destroy_node()
    for number, handler in before.items():
        signal.signal(number, handler)


def spin_until(number, executor, delay_s):
    """Send a signal to this process `delay_s` seconds after it has begun to spin."""
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), number))
    hung = threading.Timer(20.0, executor.shutdown, (0,))
    with EndSignals(timeout_s=60.0) as signals:
        timer.start()
        hung.start()
        (node,) = executor.get_nodes()
        signals.spin(executor, node)
        faulthandler.cancel_dump_traceback_later()
        assert hung.is_alive(), 'the executor was not woken'
        hung.cancel()
    return signals.received


@pytest.mark.parametrize('number', SIGNALS)
def test_an_idle_executor_ends(executor, number):
    for attempt in range(TRIES):
        assert spin_until(number, executor, 0.003 * attempt) == number.name


def test_a_signal_before_it_spins_is_not_missed(executor):
    with EndSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        (node,) = executor.get_nodes()
        signals.spin(executor, node)
        faulthandler.cancel_dump_traceback_later()
    assert signals.received == 'SIGTERM'


def test_a_second_signal_does_not_interrupt_the_end(executor):
    spin_until(signal.SIGTERM, executor, 0.0)
    os.kill(os.getpid(), signal.SIGINT)  # KeyboardInterrupt would fail this test


def test_without_a_signal_the_handlers_are_restored(ros):
    before = [signal.getsignal(number) for number in SIGNALS]
    with EndSignals() as signals:
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert (signals.requested(), signals.received) == (False, '')


def test_nohup_is_respected(ros):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with EndSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not signals.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_hangs_is_ended(ros):
    """A thread that does not end keeps it alive; the stacks of its threads say which."""
    code = (
        'import os, signal, threading\n'
        'from tam_ros.ros.shutdown import EndSignals\n'
        'with EndSignals(timeout_s=0.2):\n'
        '    os.kill(os.getpid(), signal.SIGTERM)\n'
        '    threading.Thread(target=threading.Event().wait, name="endless").start()\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'Timeout' in done.stderr
