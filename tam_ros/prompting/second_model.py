# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A further model beside the tracker's, for single images: previews, and masks to begin with.

It encodes the images itself, so the recent ones are kept, as long as the tracker keeps its own.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.prompting.stream_clock import NANOSECONDS
from tam_ros.segmentation import Segmentation, Segmenter
from tam_ros.tracking import Prompt, PromptError

MAX_KEPT = 30
"""Most images that are kept."""


class SecondModel(Closing):
    """A segmenter on the recent images of a stream.

    Attributes:
        segments: whether it answers requests for previews.
        description: of the model, for users.
    """

    def __init__(self, segmenter: Segmenter, segments: bool, begins: bool) -> None:
        """Take ownership of a segmenter.

        Args:
            segmenter: just opened.
            segments: see the class.
            begins: whether the prompts of new objects become its masks.
        """
        self.segments = segments
        self.description = f'{segmenter.model}, {segmenter.weights}'
        self._begins = begins
        self._segmenter = segmenter
        self._images: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=MAX_KEPT)
        self._encoded: int | None = None  # the stamp of the image that is encoded

    def keep(self, image: NDArray[np.uint8], stamp_ns: int, history_s: float) -> None:
        """Keep an image.

        Args:
            image: uint8 RGB [H, W, 3]; it must not be changed afterwards.
            stamp_ns: its stamp, nanoseconds. If it is not later than that of the previous image,
                the clock was restarted, and the older images are dropped.
            history_s: images that are older by more seconds are dropped.
        """
        if self._images and stamp_ns <= self._images[-1][0]:
            self._images.clear()
            self._encoded = None
        self._images.append((stamp_ns, image))
        while stamp_ns - self._images[0][0] > history_s * NANOSECONDS:
            self._images.popleft()

    def segment(self, prompt: Prompt) -> tuple[int, Segmentation]:
        """Return the stamp of the image of a prompt, nanoseconds, and the mask of the prompt.

        The image is the nearest one to the stamp of the prompt; without one, the newest.

        Raises:
            PromptError: there is no image, or the prompt cannot be used.
        """
        if not self._images:
            raise PromptError('no image has been tracked yet: prompt again once images arrive')
        stamp_ns, image = self._images[-1]
        if prompt.stamp is not None:
            wanted = prompt.stamp * NANOSECONDS
            stamp_ns, image = min(self._images, key=lambda kept: abs(kept[0] - wanted))
        if self._encoded != stamp_ns:
            self._encoded = None  # in case this fails
            self._segmenter.set_image(image)
            self._encoded = stamp_ns
        return stamp_ns, self._segmenter.segment(prompt)

    def as_mask(self, prompt: Prompt) -> Prompt:
        """Return the prompt of a new object as a mask on the same image.

        It is returned as it is if it is a mask, if the model makes an empty one of it, or if
        prompts are left to the tracker.

        Raises:
            PromptError: see `segment`.
        """
        if not self._begins or prompt.mask_image is not None:
            return prompt
        mask = self.segment(prompt)[1].masks[0]
        if not mask.any():
            return prompt
        return Prompt.mask(prompt.object_id, mask, prompt.replace, prompt.stamp)

    def close(self) -> None:
        """Close the segmenter. Calling it again does nothing."""
        self._images.clear()
        self._segmenter.close()
