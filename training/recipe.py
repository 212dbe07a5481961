# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The phases of training, from a recipe file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Phase:
    """One phase of training, with constant shapes.

    Attributes:
        name: for the log.
        size: side of the network input, pixels.
        frames: length of the clips; 1 trains segmentation alone.
        clips: clips in the batch of one process.
        objects: at most this many objects of each clip.
        lr: learning rate at the start and at the end, linear between them.
        positive_weight: see `training.losses`; at the start and at the end.
        seconds: length in time (of training, pauses do not count), or
        steps: length in steps.
        image_share: share of the steps that take single frames of `image_clips` clips instead.
        image_clips: clips of such a step.
        prompts: probabilities of mask, box and click on the first frame of a clip.
    """

    name: str
    size: int
    frames: int
    clips: int
    lr: tuple[float, float]
    objects: int = 2
    positive_weight: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0
    steps: int = 0
    image_share: float = 0.0
    image_clips: int = 8
    prompts: tuple[float, float, float] = (0.5, 0.25, 0.25)

    def __post_init__(self) -> None:
        """Check that the phase has a length, and shapes that fit the network."""
        for name in ('lr', 'positive_weight', 'prompts'):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if (self.seconds > 0) == (self.steps > 0):
            raise ValueError(f'phase {self.name!r}: give either seconds or steps')
        if self.size % 32 or self.frames < 1 or self.clips < 1:
            raise ValueError(
                f'phase {self.name!r}: size must be a multiple of 32, frames and clips at least 1'
            )

    def progress(self, seconds: float, steps: int) -> float:
        """Return the completed share of the phase, 1 or more at its end."""
        return seconds / self.seconds if self.seconds else steps / self.steps


def read(path: Path) -> list[Phase]:
    """Read the `phases` of a YAML recipe.

    Raises:
        ValueError: something in it is wrong; the message names it.
    """
    entries = yaml.safe_load(Path(path).read_text())['phases']
    try:
        return [Phase(**entry) for entry in entries]
    except TypeError as error:
        raise ValueError(f'{path}: {error}') from None
