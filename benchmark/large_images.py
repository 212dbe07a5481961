# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory of the results of large images with several objects.

    python -m benchmark.large_images [--doc docs/performance.md]

`tracemalloc` counts the arrays of NumPy and OpenCV in the last of four steps, those of the runtime
are not among them. The images have as many discs as there are objects, prompted with boxes.
"""

from __future__ import annotations

import argparse
import hashlib
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from benchmark.document import publish, table
from tam_ros.evaluation.synthetic import MovingDiscs
from tam_ros.evaluation.timing import boxes_on_a_grid, machine
from tam_ros.tracking import FrameResult, Tracker, TrackerOptions

SIZES = ((720, 1280), (1080, 1920), (2160, 3840))
COUNTS = (1, 4, 16)
STEPS = 4


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        peak: most memory of a step beyond what was there before, bytes.
        kept: memory of its result, bytes.
        digest: of labels, masks, boxes and areas.
    """

    peak: int
    kept: int
    digest: str


def measure(size: tuple[int, int], objects: int) -> Measured:
    """Track some images of `size`, (height, width)."""
    images = MovingDiscs(objects, size)
    digest = hashlib.sha256()
    with Tracker.open('efficienttam_nano', options=TrackerOptions(max_objects=objects)) as tracker:
        for index in range(STEPS):
            image, _ = images.frame(index)
            prompts = boxes_on_a_grid(objects, size) if index == 0 else []
            if index == STEPS - 1:
                tracemalloc.start()
            frame = tracker.step(image, index / 10, prompts)
            kept, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            _add(digest, frame)
    return Measured(peak, kept, digest.hexdigest()[:12])


def _add(digest: hashlib._Hash, frame: FrameResult) -> None:
    digest.update(frame.labels.tobytes())
    for item in frame.objects:
        digest.update(item.mask.tobytes())
        digest.update(repr((item.id, item.state, item.box, item.area, item.centroid)).encode())


def main() -> None:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--doc', type=Path, help='document to write the table into')
    arguments = parser.parse_args()
    rows = []
    for height, width in SIZES:
        for objects in COUNTS:
            found = measure((height, width), objects)
            rows.append(
                [
                    f'{width}x{height}',
                    str(objects),
                    f'{found.peak / 1e6:.0f}',
                    f'{found.kept / 1e6:.0f}',
                ]
            )
            print(rows[-1], found.digest, flush=True)
    heads = ['images', 'objects', 'most in a step, MB', 'the result, MB']
    text = f'{table(heads, rows)}\n\n`efficienttam_nano`, onnxruntime, {machine()}.'
    publish(text, 'large images', arguments.doc)


if __name__ == '__main__':
    main()
