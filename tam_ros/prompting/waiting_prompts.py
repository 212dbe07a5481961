# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The prompts that wait for their image, in little memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tam_ros.tracking import Prompt, PromptError

MAX_WAITING = 64
"""Prompts that may wait for an image; more waiting prompts mean that no image arrives."""

MAX_MASK_BYTES = 1 << 24
"""Memory that the waiting masks may take together, one bit per pixel: 16 masks of 3840x2160."""


@dataclass(frozen=True, eq=False)
class WaitingPrompt:
    """A prompt and its image.

    Attributes:
        prompt: the prompt; while it waits, without its mask.
        stamp_ns: stamp of its image, nanoseconds; 0: the next image.
    """

    prompt: Prompt
    stamp_ns: int
    _bits: NDArray[np.uint8] | None = None  # of the mask
    _shape: tuple[int, int] = (0, 0)

    @classmethod
    def packed(cls, prompt: Prompt, stamp_ns: int) -> WaitingPrompt:
        """Pack a prompt, whose mask is not referred to any more."""
        mask = prompt.mask_image
        if mask is None:
            return cls(prompt, stamp_ns)
        rows, columns = mask.shape
        bits = np.packbits(mask)
        return cls(replace(prompt, mask_image=None), stamp_ns, bits, (rows, columns))

    def unpacked(self) -> WaitingPrompt:
        """Return it with its mask."""
        if self._bits is None:
            return self
        rows, columns = self._shape
        mask = np.unpackbits(self._bits, count=rows * columns).reshape(rows, columns).view(bool)
        return replace(self, prompt=replace(self.prompt, mask_image=mask))

    @property
    def object_id(self) -> int:
        """The object."""
        return self.prompt.object_id

    @property
    def mask_bytes(self) -> int:
        """The memory of its packed mask."""
        return 0 if self._bits is None else self._bits.nbytes


class WaitingPrompts:
    """The queue, in the order in which the prompts were accepted."""

    def __init__(self) -> None:
        """Begin with none."""
        self._items: deque[WaitingPrompt] = deque()

    def __len__(self) -> int:
        """Return how many prompts wait."""
        return len(self._items)

    @property
    def object_ids(self) -> set[int]:
        """Ids of their objects."""
        return {item.object_id for item in self._items}

    @property
    def mask_bytes(self) -> int:
        """The memory of their masks."""
        return sum(item.mask_bytes for item in self._items)

    def check_room(self) -> None:
        """Raise PromptError if no other prompt may wait."""
        if len(self._items) >= MAX_WAITING:
            raise PromptError(
                f'{MAX_WAITING} prompts are waiting for an image: check that images arrive'
            )

    def add(self, prompt: Prompt, stamp_ns: int) -> None:
        """Queue a prompt. A mask replaces what waits for the same object on the same image.

        The tracker would drop that as well, see `Prompt.merged`.

        Args:
            prompt: the prompt.
            stamp_ns: stamp of its image, nanoseconds; 0: the next image.

        Raises:
            PromptError: the masks would take too much memory; nothing was changed.
        """
        kept = list(self._items)
        if prompt.mask_image is not None:
            kept = [item for item in kept if not _is_for(item, prompt.object_id, stamp_ns)]
            needed = sum(item.mask_bytes for item in kept) + -(-prompt.mask_image.size // 8)
            if needed > MAX_MASK_BYTES:
                raise PromptError(
                    f'the masks that wait for an image would take {needed / 1e6:.1f} MB; the '
                    f'limit is {MAX_MASK_BYTES / 1e6:.1f} MB: send this one after the next image'
                )
            if any(item.prompt.replace for item in self._items if item not in kept):
                prompt = replace(prompt, replace=True)
        self._items = deque([*kept, WaitingPrompt.packed(prompt, stamp_ns)])

    def take_due(self, stamp_ns: int) -> list[WaitingPrompt]:
        """Remove and return the prompts on this image or an earlier one, with their masks."""
        items, self._items = self._items, deque()
        due: list[WaitingPrompt] = []
        for item in items:
            if item.stamp_ns > stamp_ns:
                self._items.append(item)
            else:
                due.append(item.unpacked())
        return due

    def put_back(self, due: Sequence[WaitingPrompt]) -> None:
        """Queue prompts that were due again, before the others."""
        packed = (replace(item, prompt=replace(item.prompt, mask_image=None)) for item in due)
        self._items = deque([*packed, *self._items])

    def take_stamped(self) -> list[WaitingPrompt]:
        """Remove and return the prompts that are not for the next image, without their masks."""
        stamped = [item for item in self._items if item.stamp_ns]
        self._items = deque(item for item in self._items if not item.stamp_ns)
        return stamped

    def remove(self, object_id: int) -> bool:
        """Remove the prompts for an object; return whether there were any."""
        kept = deque(item for item in self._items if item.object_id != object_id)
        removed = len(kept) < len(self._items)
        self._items = kept
        return removed

    def clear(self) -> None:
        """Remove all."""
        self._items.clear()


def _is_for(item: WaitingPrompt, object_id: int, stamp_ns: int) -> bool:
    return item.object_id == object_id and item.stamp_ns == stamp_ns
