# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Turns clicks on the image into prompts: a new object, or a correction of a tracked one.

A click is only a pixel. Which object it belongs to, and whether it includes or excludes that
pixel, depends on the click mode, on the object shown at the pixel, and on the time since the last
click.
"""

from __future__ import annotations

from collections.abc import Collection

from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import Action, PromptRequest
from tam_ros.tracking import PromptError

AUTO, NEW, INCLUDE, EXCLUDE = MODES = ('auto', 'new', 'include', 'exclude')
"""Click modes, described in srv/SetClickMode.srv."""


class Clicks:
    """The clicks of one operator, and the object that is selected.

    An object stays selected until another one is selected or it is no longer tracked.
    """

    def __init__(self) -> None:
        self._selected = 0
        self._last: float | None = None

    def selected(self, tracked: Collection[int]) -> int:
        """Return the selected object, which corrections apply to; 0: none.

        Args:
            tracked: ids of the objects that are tracked or waiting for their first image.
        """
        if self._selected not in tracked:
            self.clear()
        return self._selected

    def select(self, object_id: int, now: float | None = None) -> None:
        """Select the object that corrections apply to.

        Args:
            object_id: the object.
            now: time of the click that selected it, seconds of a monotonic clock. Within the
                click window after it, the next click in `auto` mode is a correction. None: it was
                not selected by a click.
        """
        self._selected = object_id
        self._last = now

    def clear(self) -> None:
        """Select no object."""
        self._selected, self._last = 0, None

    def request(
        self,
        xy: tuple[float, float],
        images: PublishedImages,
        tracked: Collection[int],
        mode: str,
        window: float,
        now: float,
    ) -> PromptRequest | int:
        """Return the request that a click on the newest published image makes.

        This does not change the selection; call `select` once the request is accepted.

        Args:
            xy: the clicked pixel.
            images: the published images.
            tracked: ids of the objects that are tracked or waiting for their first image.
            mode: one of `MODES`.
            window: seconds within which another click in `auto` mode is a correction.
            now: seconds of a monotonic clock.

        Returns:
            The request; or the id of an object, which the click only selects.

        Raises:
            PromptError: no image has been published yet; or the click is a correction and no
                object is selected.
        """
        image = images.newest
        selected = self.selected(tracked)
        if mode == AUTO:
            if selected and self._last is not None and now - self._last <= window:
                mode = EXCLUDE if images.shows(selected, *xy) else INCLUDE
            elif (shown := images.id_at(*xy)) in tracked:
                return shown
            else:
                mode = NEW
        if mode == NEW:
            return PromptRequest(Action.ADD, 0, image.stamp_ns, points=(xy,), point_labels=(1,))
        if not selected:
            raise PromptError(
                f'a click in the mode {mode} corrects the selected object, and none is selected: '
                f'send its id to ~/set_click_mode, or click on it in the mode {AUTO}'
            )
        return PromptRequest(
            Action.REFINE,
            selected,
            image.stamp_ns,
            points=(xy,),
            point_labels=(int(mode == INCLUDE),),
        )
