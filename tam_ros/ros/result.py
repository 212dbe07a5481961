# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One tracked image and what can be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from tam_ros.spatial import DepthView, Place
from tam_ros.tracking import FrameResult


class Result:
    """What was made of an image; what takes time is computed when it is first asked for.

    Attributes:
        frame: what `Tracker.step` returned.
        names: of the objects, by id, as far as they have one.
        header: of the image; every message about it carries it unchanged.
        image: uint8 RGB [H, W, 3].
    """

    def __init__(
        self,
        frame: FrameResult,
        names: Mapping[int, str],
        header: Header,
        image: NDArray[np.uint8],
        look: Callable[[], DepthView | None] = lambda: None,
    ) -> None:
        """Take everything over.

        Args:
            frame: see the attributes.
            names: see the attributes.
            header: see the attributes.
            image: see the attributes.
            look: finds the depth of the image; None: there is none.
        """
        self.frame = frame
        self.names = names
        self.header = header
        self.image = image
        self._look = look

    @cached_property
    def view(self) -> DepthView | None:
        """The depth of the image, or None."""
        return self._look()

    @cached_property
    def places(self) -> dict[int, Place]:
        """Where objects are, by id: those that are seen and whose depth was measured."""
        seen = [item for item in self.frame.objects if item.box is not None]
        if not seen or self.view is None:
            return {}
        found = {item.id: self.view.place(item.mask, item.box) for item in seen}
        return {number: place for number, place in found.items() if place is not None}

    @cached_property
    def pixels(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The label image [H, W] in as few bytes as its ids need."""
        labels = self.frame.labels
        small = not labels.size or labels.max() <= np.iinfo(np.uint8).max
        return labels.astype(np.uint8) if small else labels
