# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ids of new objects: one caller cannot use them up in a loop."""

from __future__ import annotations

import pytest

from tam_ros.prompting.object_ids import BURST, ObjectIds
from tam_ros.tracking import PromptError
from tam_ros.tracking.prompts import MAX_ID


class Ids:
    """A caller that removes every object before the next one."""

    def __init__(self):
        self.now = 100.0
        self.ids = ObjectIds(lambda: self.now)

    def add(self, object_id=0, per_second=2.0, max_objects=4):
        chosen = self.ids.choose(object_id, (), max_objects, per_second)
        self.ids.use(chosen)
        return chosen

    def add_all(self, **options):
        """Return how many are added until one is refused."""
        count = 0
        while True:
            try:
                self.add(**options)
            except PromptError:
                return count
            count += 1


@pytest.fixture
def caller():
    return Ids()


def test_many_at_once_and_then_so_many_per_second(caller):
    assert caller.add_all() == BURST
    with pytest.raises(PromptError, match=r'2 per second are allowed \(max_new_objects\)'):
        caller.add()
    caller.now += 10
    assert caller.add_all() == 20
    caller.now += 1e6
    assert caller.add_all() == BURST
    assert caller.ids.used == 2 * BURST + 20


def test_as_many_at_once_as_there_may_be(caller):
    assert caller.add_all(max_objects=255) == 255


def test_a_reset_gives_ids_but_no_allowance(caller):
    caller.add_all()
    caller.ids.clear()
    assert caller.ids.used == caller.add_all() == 0


def test_prompts_for_an_object_use_nothing(caller):
    assert caller.add() == 1
    for _ in range(2 * BURST):
        caller.ids.use(1)
    assert caller.ids.used == 1
    assert caller.add_all() == BURST - 1


def test_refused_objects_use_nothing(caller):
    for _ in range(2 * BURST):
        caller.ids.choose(0, (), 4, 2.0)
    assert caller.add_all() == BURST


@pytest.mark.parametrize('first', [0, MAX_ID])
def test_without_a_limit_all_ids_can_be_used(caller, first):
    assert caller.add(first, per_second=0.0) == (first or 1)
    # As after hours.
    caller.ids._used.update(range(1, MAX_ID + 1))
    caller.ids._used.discard(7)
    assert caller.add(per_second=0.0) == 7
    assert caller.ids.used == MAX_ID
    with pytest.raises(PromptError, match='all 65535 ids are used: reset'):
        caller.add(per_second=0.0)
