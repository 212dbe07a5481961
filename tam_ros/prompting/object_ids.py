# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ids of new objects, which are used once before a reset, and how fast they may be used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from tam_ros.tracking import PromptError
from tam_ros.tracking.prompts import MAX_ID

BURST = 64
"""New objects that may come at once, beyond the number per second; more where `max_objects` is."""

FEW_LEFT = MAX_ID // 10
"""So many ids and less are few."""


class ObjectIds:
    """The ids that were used since the start or the last reset.

    One caller that adds and removes objects in a loop must not use them all up.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin with none.

        Args:
            monotonic: returns the time that passes, seconds.
        """
        self._used: set[int] = set()
        self._monotonic = monotonic
        self._allowance = math.inf  # new objects that may come now
        self._at = monotonic()

    @property
    def used(self) -> int:
        """How many ids were used."""
        return len(self._used)

    def choose(
        self, object_id: int, tracked: Collection[int], max_objects: int, per_second: float
    ) -> int:
        """Return the id of a new object; `use` it once the object is accepted.

        Args:
            object_id: the wanted id; 0: the lowest that was not used.
            tracked: ids of the objects that are tracked or wait for their first image.
            max_objects: how many there may be.
            per_second: new objects per second, beyond `BURST` at once; 0: any number.

        Raises:
            PromptError: the id was used or all were, or there are too many objects.
        """
        if object_id in tracked:
            raise PromptError(f'object {object_id} is already tracked: send REFINE or REPLACE')
        if object_id in self._used:
            raise PromptError(
                f'object {object_id} was removed, and its id is not used again before a reset: '
                f'send 0 for a new id'
            )
        # The tracker does not count objects that wait for their first image.
        if len(tracked) >= max_objects:
            raise PromptError(f'{max_objects} objects are tracked, the limit: remove one first')
        if self.used >= MAX_ID:
            raise PromptError(
                f'all {MAX_ID} ids are used: reset, after which they begin at 1 again'
            )
        burst = max(BURST, max_objects)
        self._refill(burst, per_second)
        if per_second and self._allowance < 1:
            raise PromptError(
                f'{burst} new objects have come at once, and {per_second:g} per second are '
                f'allowed (max_new_objects): send it again later'
            )
        return object_id or next(one for one in range(1, MAX_ID + 1) if one not in self._used)

    def use(self, object_id: int) -> None:
        """Note that an object has an id."""
        if object_id not in self._used:
            self._used.add(object_id)
            self._allowance = max(0.0, self._allowance - 1)

    def clear(self) -> None:
        """Forget the ids, after a reset."""
        self._used.clear()

    def _refill(self, burst: int, per_second: float) -> None:
        now = self._monotonic()
        self._allowance = min(burst, self._allowance + (now - self._at) * per_second)
        self._at = now
