# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The newest item, the calls before it, and the end."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from tam_ros.ros.mailbox import ClosedError, Mailbox


def test_only_the_newest_item_is_taken():
    mailbox = Mailbox()
    assert [mailbox.put(item) for item in 'abc'] == [False, True, True]
    assert mailbox.take() == 'c'
    assert not mailbox.put('d'), 'a taken item was not dropped'
    assert mailbox.take() == 'd'


def test_calls_go_before_items_and_are_never_dropped():
    mailbox = Mailbox()
    order = []
    mailbox.put('item')
    answers = [mailbox.call(lambda n=n: order.append(n) or n * 10) for n in range(3)]
    assert mailbox.waiting == 3
    assert mailbox.take() == 'item'
    assert order == [0, 1, 2]
    assert [answer.result(0) for answer in answers] == [0, 10, 20]


def test_who_asks_again_at_once_does_not_wait_for_the_next_item():
    """Requests come one after another, each when the one before is answered."""
    mailbox = Mailbox()
    mailbox.put('item')
    order = []

    def ask():
        for number in range(5):
            mailbox.call(lambda number=number: order.append(number)).result(5)

    first = mailbox.call(lambda: None)
    asker = threading.Thread(target=lambda: (first.result(5), ask()))
    asker.start()
    assert mailbox.take() == 'item'
    assert order == [0, 1, 2, 3, 4]
    asker.join(5)


def test_an_item_does_not_wait_for_ever_for_those_who_ask():
    mailbox = Mailbox()
    mailbox.put('item')
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            mailbox.call(lambda: None).result(5)

    first = mailbox.call(lambda: None)
    asker = threading.Thread(target=lambda: (first.result(5), ask()), daemon=True)
    asker.start()
    begin = time.monotonic()
    while mailbox.take() != 'item':
        pass
    assert time.monotonic() - begin < 2
    ended.set()
    mailbox.put('last')
    mailbox.take()
    asker.join(5)


def test_an_error_goes_to_whoever_called():
    mailbox = Mailbox()
    answer = mailbox.call(lambda: 1 / 0)
    mailbox.put('item')
    assert mailbox.take() == 'item', 'the taking thread goes on'
    with pytest.raises(ZeroDivisionError):
        answer.result(0)


def test_a_call_that_was_taken_back_is_not_made():
    mailbox = Mailbox()
    called = []
    answer = mailbox.call(lambda: called.append(1))
    assert answer.cancel()
    mailbox.put('item')
    mailbox.take()
    assert not called


def test_closing_wakes_the_taker_and_cancels_what_waits():
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
        mailbox.call(lambda: None)

    other = Mailbox()
    waiting = other.call(lambda: None)
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
