# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a click on the image means: a new object, or a correction of one that is followed.

A click says where, and nothing else: which object it is about, and whether it adds or takes away,
follows from a mode, from what is shown at that place, and from the time since the last click.
"""

from __future__ import annotations

from collections.abc import Collection

from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.prompting.scenes import Scenes
from tam_ros.tracking import PromptError

AUTO, NEW, INCLUDE, EXCLUDE = MODES = ('auto', 'new', 'include', 'exclude')
"""Modes of clicking; srv/SetClickMode.srv says what they are."""


class Clicks:
    """One operator's clicks.

    An object stays selected until another one is, or until it is no longer followed.
    """

    def __init__(self) -> None:
        self._selected = 0
        self._last: float | None = None

    def selected(self, followed: Collection[int]) -> int:
        """Return the object that corrections are about; 0: none.

        Args:
            followed: objects that are tracked or about to be.
        """
        if self._selected not in followed:
            self.clear()
        return self._selected

    def select(self, object_id: int, now: float | None = None) -> None:
        """Let corrections be about an object from now on.

        Args:
            object_id: the object.
            now: seconds of a clock that only goes forward, if the operator clicked: then the next
                click of the mode auto corrects it, if it comes in time.
        """
        self._selected = object_id
        self._last = now

    def clear(self) -> None:
        """Select nothing."""
        self._selected, self._last = 0, None

    def request(
        self,
        xy: tuple[float, float],
        scenes: Scenes,
        followed: Collection[int],
        mode: str,
        window: float,
        now: float,
    ) -> PromptRequest | int:
        """Return what a click asks for, made on the newest published image.

        Nothing is selected by this; `select` does it once the request was accepted.

        Args:
            xy: pixel.
            scenes: what is shown.
            followed: objects that are tracked or about to be.
            mode: one of `MODES`.
            window: seconds within which a further click of the mode auto is a correction.
            now: seconds of a clock that only goes forward.

        Returns:
            The request; or the id of the object that the click does nothing but select.

        Raises:
            PromptError: no image was published yet; a correction, but nothing is selected.
        """
        scene = scenes.newest
        selected = self.selected(followed)
        if mode == AUTO:
            if selected and self._last is not None and now - self._last <= window:
                mode = EXCLUDE if scenes.shows(selected, *xy) else INCLUDE
            elif (shown := scenes.id_at(*xy)) in followed:
                return shown
            else:
                mode = NEW
        if mode == NEW:
            return PromptRequest(Action.ADD, 0, scene.stamp_ns, points=(xy,), labels=(1,))
        if not selected:
            raise PromptError(
                f'a click in the mode {mode} corrects the selected object, and none is selected: '
                f'send its id to ~/set_click_mode, or click on it in the mode {AUTO}'
            )
        labels = (int(mode == INCLUDE),)
        return PromptRequest(Action.REFINE, selected, scene.stamp_ns, points=(xy,), labels=labels)
