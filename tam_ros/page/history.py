# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The prompts that were accepted, so that the last one of a browser can be undone.

The tracking node has no undo. An object that was added is removed again. A correction is undone by
prompting the object anew (REPLACE) with its other prompts, on the images they were made on; the
node refuses that once it no longer keeps those images.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tam_ros.page.protocol import Box, Point, Prompt

MAX_PROMPTS = 500
"""Prompts that are remembered."""


class UndoError(ValueError):
    """The last prompt cannot be undone; the message says why, and what to do."""


@dataclass(frozen=True)
class Step:
    """One prompt that makes an object anew.

    Attributes:
        stamp_ns: stamp of its image, nanoseconds.
        points: may be empty.
        box: None: none.
    """

    stamp_ns: int
    points: tuple[Point, ...]
    box: Box | None


@dataclass(frozen=True)
class Removal:
    """Undone by removing the object.

    Attributes:
        object_id: the object.
    """

    object_id: int


@dataclass(frozen=True)
class Renewal:
    """Undone by prompting the object anew.

    Attributes:
        object_id: the object.
        steps: its other prompts, one for each image; not empty.
    """

    object_id: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class _Accepted:
    browser: int
    object_id: int
    is_new: bool
    prompt: Prompt


class PromptHistory:
    """The accepted prompts of one camera, in order."""

    def __init__(self) -> None:
        self._accepted: deque[_Accepted] = deque(maxlen=MAX_PROMPTS)

    def accepted(self, browser: int, prompt: Prompt, object_id: int) -> None:
        """Note a prompt that the node has accepted.

        Args:
            browser: who sent it.
            prompt: the prompt.
            object_id: the object, which the node may have chosen.
        """
        if prompt.object_id == 0:
            self.removed(object_id)  # prompts of that id from before a restart of the node
        self._accepted.append(_Accepted(browser, object_id, prompt.object_id == 0, prompt))

    def removed(self, object_id: int) -> None:
        """Forget an object."""
        kept = [one for one in self._accepted if one.object_id != object_id]
        self._accepted = deque(kept, maxlen=MAX_PROMPTS)

    def clear(self) -> None:
        """Forget everything."""
        self._accepted.clear()

    def undo(self, browser: int) -> Removal | Renewal:
        """Return what undoes the last prompt of a browser; `undone` then forgets the prompt.

        Raises:
            UndoError: there is none, or the object was not added here.
        """
        last = self._last(browser)
        if last.is_new:
            return Removal(last.object_id)
        others = [one for one in self._accepted if one.object_id == last.object_id]
        others = [one for one in others if one is not last]
        if not others or not others[0].is_new:
            raise UndoError(
                f'object {last.object_id} was not added on this page, so its prompts are not all '
                f'known: correct it by another prompt, or remove it'
            )
        by_image: dict[int, list[Prompt]] = {}
        for one in others:
            by_image.setdefault(one.prompt.stamp_ns, []).append(one.prompt)
        return Renewal(last.object_id, tuple(_step(*item) for item in by_image.items()))

    def undone(self, browser: int) -> None:
        """Forget the last prompt of a browser."""
        self._accepted.remove(self._last(browser))

    def _last(self, browser: int) -> _Accepted:
        for one in reversed(self._accepted):
            if one.browser == browser:
                return one
        raise UndoError('there is nothing to undo: no prompt was sent from here')


def _step(stamp_ns: int, prompts: list[Prompt]) -> Step:
    points = tuple(point for prompt in prompts for point in prompt.points)
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    return Step(stamp_ns, points, boxes[-1] if boxes else None)
