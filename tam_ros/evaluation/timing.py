# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Time of the steps of a tracker by stage, and the machine it was measured on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tam_ros.io.frames import SourceError
from tam_ros.tracking import Prompt, Tracker

WARM_UP = 20
"""Steps that are not counted. The memory bank and pointers of an object are full after 16."""

RATE_HZ = 30.0


@dataclass
class Timing:
    """Time of the counted steps of one run.

    Attributes:
        seconds: duration of each stage in each step; the stage `step` is the whole step.
        size: (height, width) of the images, pixels.
    """

    seconds: dict[str, list[float]]
    size: tuple[int, int]

    @property
    def steps(self) -> int:
        """Number of counted steps."""
        return len(self.seconds['step'])

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the median and the 95th percentile of each stage, milliseconds."""
        return {
            stage: {
                'median_ms': 1e3 * float(np.median(values)),
                'p95_ms': 1e3 * float(np.percentile(values, 95)),
            }
            for stage, values in self.seconds.items()
        }


def time_steps(
    tracker: Tracker, images: Iterable[np.ndarray], objects: int, warm_up: int = WARM_UP
) -> Timing:
    """Track objects through a video, prompted with a box on its first frame.

    Args:
        tracker: is reset first.
        images: uint8 RGB [H, W, 3] each.
        objects: number of objects.
        warm_up: number of first steps that are not counted.

    Raises:
        SourceError: the video has no more than `warm_up` frames.
        PromptError: the tracker refuses a prompt.
        FrameError: the tracker refuses an image.
    """
    tracker.reset()
    seconds: dict[str, list[float]] = {}
    size = (0, 0)
    for index, image in enumerate(images):
        size = image.shape[:2]
        prompts = boxes_on_a_grid(objects, size) if index == 0 else []
        begin = time.perf_counter()
        frame = tracker.step(image, index / RATE_HZ, prompts)
        whole = time.perf_counter() - begin
        if index >= warm_up:
            for stage, value in (frame.stage_seconds | {'step': whole}).items():
                seconds.setdefault(stage, []).append(value)
    if not seconds:
        raise SourceError(f'the video ended within the {warm_up} frames that are not counted')
    return Timing(seconds, size)


def boxes_on_a_grid(objects: int, size: tuple[int, int]) -> list[Prompt]:
    """Return box prompts spread over an image of `size` (height, width).

    The time does not depend on what they contain.
    """
    columns = int(np.ceil(np.sqrt(objects)))
    rows = -(-objects // columns) if objects else 1
    height, width = size[0] / rows, size[1] / columns
    return [
        Prompt.box(
            number + 1,
            (
                (number % columns + 0.25) * width,
                (number // columns + 0.25) * height,
                (number % columns + 0.75) * width,
                (number // columns + 0.75) * height,
            ),
        )
        for number in range(objects)
    ]


def machine() -> str:
    """Return the name of the processor and the number of cores that this process may use."""
    names = (
        line.split(':', 1)[1].strip()
        for line in _lines('/proc/cpuinfo')
        if line.startswith(('model name', 'Model\t'))
    )
    name = next(names, platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{name}, {cores} core{"" if cores == 1 else "s"}'


def _lines(path: str) -> Iterator[str]:
    try:
        yield from Path(path).read_text(encoding='utf-8').splitlines()
    except OSError:  # not Linux
        return
