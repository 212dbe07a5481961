# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The inference thread and its mailbox: the newest item, calls before it, closing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from tam_ros.closing import Closing
from tam_ros.ros.inference import (
    BusyError,
    ClosedError,
    InferenceThread,
    InterruptedOpeningError,
    Mailbox,
)


def test_only_the_newest_item_is_taken():
    mailbox = Mailbox()
    assert [mailbox.put(item) for item in 'abc'] == [False, True, True]
    assert mailbox.take() == 'c'
    assert not mailbox.put('d'), 'a taken item was not dropped'
    assert mailbox.take() == 'd'


def test_calls_are_made_before_items_and_never_dropped():
    mailbox = Mailbox()
    order = []
    mailbox.put('item')
    answers = [mailbox.schedule(lambda n=n: order.append(n) or n * 10) for n in range(3)]
    assert mailbox.waiting == 3
    assert mailbox.take() == 'item'
    assert order == [0, 1, 2]
    assert [answer.result(0) for answer in answers] == [0, 10, 20]


def test_consecutive_calls_are_made_before_the_next_item():
    """A client sends each request when the previous one is answered."""
    mailbox = Mailbox()
    mailbox.put('item')
    order = []

    def call():
        for number in range(5):
            mailbox.schedule(lambda number=number: order.append(number)).result(5)

    first = mailbox.schedule(lambda: None)
    caller = threading.Thread(target=lambda: (first.result(5), call()))
    caller.start()
    assert mailbox.take() == 'item'
    assert order == [0, 1, 2, 3, 4]
    caller.join(5)


def test_an_item_does_not_wait_forever_for_calls():
    mailbox = Mailbox()
    mailbox.put('item')
    ended = threading.Event()

    def call():
        while not ended.is_set():
            mailbox.schedule(lambda: None).result(5)

    first = mailbox.schedule(lambda: None)
    caller = threading.Thread(target=lambda: (first.result(5), call()), daemon=True)
    caller.start()
    begin = time.monotonic()
    while mailbox.take() != 'item':
        pass
    assert time.monotonic() - begin < 2
    ended.set()
    mailbox.put('last')
    mailbox.take()
    caller.join(5)


def test_an_error_is_raised_for_the_caller():
    mailbox = Mailbox()
    answer = mailbox.schedule(lambda: 1 / 0)
    mailbox.put('item')
    assert mailbox.take() == 'item', 'the taking thread continues'
    with pytest.raises(ZeroDivisionError):
        answer.result(0)


def test_a_cancelled_call_is_not_made():
    mailbox = Mailbox()
    called = []
    answer = mailbox.schedule(lambda: called.append(1))
    assert answer.cancel()
    mailbox.put('item')
    mailbox.take()
    assert not called


def test_closing_wakes_the_taking_thread_and_cancels_waiting_calls():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    taker.start()
    mailbox.close()
    taker.join(5)
    assert taken == [None]

    mailbox.put('late')
    assert mailbox.take() is None
    with pytest.raises(ClosedError):
        mailbox.schedule(lambda: None)

    other = Mailbox()
    waiting = other.schedule(lambda: None)
    other.close()
    with pytest.raises(CancelledError):
        waiting.result(0)


def test_every_item_is_either_taken_or_dropped():
    mailbox = Mailbox()
    taken = []

    def take():
        while (item := mailbox.take()) is not None:
            taken.append(item)

    taker = threading.Thread(target=take)
    taker.start()
    dropped = sum(mailbox.put(item) for item in range(1, 2001))
    while not taken or taken[-1] != 2000:
        pass
    mailbox.close()
    taker.join(5)
    assert taken == sorted(taken)
    assert len(taken) + dropped == 2000


class Recorder(Closing):
    """A session that records what happens to it, and in which thread."""

    def __init__(self):
        self.events = [('open', threading.current_thread().name)]

    def note(self, event):
        self.events.append((event, threading.current_thread().name))

    def close(self):
        self.note('close')


def test_a_session_is_opened_used_and_closed_in_one_thread():
    processed = threading.Event()

    def process(session, item):
        session.note(item)
        processed.set()

    thread = InferenceThread(Recorder, process)
    session = thread.call(lambda session: session)
    thread.call(lambda session: session.note('call'))
    thread.submit('item')
    assert processed.wait(10)
    assert thread.stop()
    events, threads = zip(*session.events, strict=True)
    assert events == ('open', 'call', 'item', 'close')
    assert set(threads) == {'inference'}
    with pytest.raises(BusyError, match='shutting down'):
        thread.call(lambda session: session)


def test_an_error_while_opening_is_raised_to_the_owner():
    with pytest.raises(ZeroDivisionError):
        InferenceThread(lambda: 1 / 0, lambda *_: None)


def test_waiting_for_a_session_to_open_is_interrupted():
    goes_on, interrupted, opened = threading.Event(), threading.Event(), threading.Event()

    def open_session():
        interrupted.set()
        goes_on.wait(60)
        opened.set()
        return Recorder()

    with pytest.raises(InterruptedOpeningError):
        InferenceThread(open_session, lambda *_: None, interrupted.is_set)
    assert not opened.is_set(), 'the owner waited until the session was open'
    goes_on.set()


def test_a_call_that_waits_is_interrupted():
    """It is not made later either."""
    busy, goes_on, interrupted = threading.Event(), threading.Event(), threading.Event()

    def process(session, item):
        busy.set()
        goes_on.wait(20)

    thread = InferenceThread(Recorder, process, interrupted.is_set)
    thread.submit('item')
    assert busy.wait(10)
    interrupted.set()
    made = []
    with pytest.raises(BusyError, match='shutting down'):
        thread.call(made.append)
    goes_on.set()
    assert thread.stop()
    assert not made
