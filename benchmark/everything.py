# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everything mode: what grids of several sizes cost, and which annotated objects they find.

    python -m benchmark.everything [--data DIR] [--picture FILE] [--doc docs/segmentation.md]

The images are three of the demo's clip, and the first annotated one of each sequence in DIR. The
median time over the images is that of the clicks, without encoding the image.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.document import publish, table
from tam_ros.demo.scene import DemoScene
from tam_ros.drawing.contact_sheet import Tile, contact_sheet
from tam_ros.drawing.overlay import draw_overlay
from tam_ros.evaluation.dataset import open_dataset
from tam_ros.evaluation.jaccard import VOID
from tam_ros.evaluation.timing import machine
from tam_ros.segmentation import EverythingOptions, Proposal, Segmenter

GRIDS = (8, 16, 32)
DEMO_FRAMES = (0, 20, 60)
FOUND = 0.5  # IoU with an annotated object


class Row(NamedTuple):
    """What one setting costs and finds.

    Attributes:
        seconds: median time of an image.
        cpu_seconds: the same of the processor, all threads together. Other work on the machine
            changes it less.
        masks: mean number of masks of an image.
        found: annotated objects that a mask covers with an IoU above `FOUND`.
        objects: annotated objects.
    """

    seconds: float
    cpu_seconds: float
    masks: float
    found: int
    objects: int


def pictures(data: Path | None) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.integer]]]:
    """Yield images and their labels."""
    scene = DemoScene()
    yield from (scene.frame(index) for index in DEMO_FRAMES)
    for sequence in open_dataset(data) if data else ():
        for frame in sequence:
            if frame.labels is not None and (frame.labels > 0).any():
                yield frame.image, frame.labels
                break


def measure(
    segmenter: Segmenter,
    images: Sequence[tuple[NDArray[np.uint8], NDArray[np.integer]]],
    options: EverythingOptions,
) -> Row:
    """Segment everything in the images."""
    times, cpu_times, masks, best = [], [], 0, []
    for image, labels in images:
        segmenter.set_image(image)
        begin, cpu_begin = time.perf_counter(), time.process_time()
        found = segmenter.everything(options)
        times.append(time.perf_counter() - begin)
        cpu_times.append(time.process_time() - cpu_begin)
        masks += len(found)
        best += [
            max((overlap(one.mask, labels == number) for one in found), default=0.0)
            for number in np.unique(labels)
            if number not in (0, VOID)
        ]
    return Row(
        float(np.median(times)),
        float(np.median(cpu_times)),
        masks / len(images),
        sum(iou > FOUND for iou in best),
        len(best),
    )


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks that are not both empty."""
    return float(np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth))


def draw(segmenter: Segmenter, path: Path) -> None:
    """Draw a click with its candidates, and what the grids find, on the first demo image."""
    image, labels = DemoScene().frame(0)
    segmenter.set_image(image)
    rows, columns = np.nonzero(labels == 1)
    x, y = float(columns.mean()), float(rows.mean())
    clicked = segmenter.predict([(x, y)])
    mask = clicked.masks[clicked.best]
    drawn = draw_overlay(image, mask.astype(np.uint8))
    cv2.drawMarker(drawn, (round(x), round(y)), (255, 255, 255), cv2.MARKER_CROSS, 24, 3)
    tiles = [Tile(drawn, f'one click: predicted IoU {clicked.predicted_iou.max():.2f}')]
    for grid in GRIDS:
        found = segmenter.everything(EverythingOptions.of(segmenter.model, points_per_side=grid))
        tiles.append(Tile(overlay(image, found), f'{grid} x {grid} clicks: {len(found)} masks'))
    sheet = contact_sheet(tiles, f'Image mode, {segmenter.model}', columns=2)
    cv2.imwrite(str(path), sheet[..., ::-1])


def overlay(image: NDArray[np.uint8], found: Sequence[Proposal]) -> NDArray[np.uint8]:
    """Return an image with masks drawn in, the smaller ones on top."""
    labels = np.zeros(image.shape[:2], np.uint16)
    for number, one in enumerate(sorted(found, key=lambda one: -one.area), 1):
        labels[one.mask] = number
    return np.asarray(draw_overlay(image, labels))


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--runtime', default='onnxruntime')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--grids', type=int, nargs='+', default=GRIDS)
    parser.add_argument('--data', type=Path, help='a data set in the layout of DAVIS')
    parser.add_argument('--picture', type=Path, help='draw what is found into this file')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    images = list(pictures(args.data))
    load = os.getloadavg()[0]
    with Segmenter.open(args.model, args.weights, args.runtime, threads=args.threads) as segmenter:
        if args.picture:
            draw(segmenter, args.picture)
        rows = []
        for grid in args.grids:
            for refine in (False, True) if grid == min(args.grids) else (False,):
                options = EverythingOptions.of(args.model, points_per_side=grid, refine=refine)
                row = measure(segmenter, images, options)
                rows.append(
                    [
                        f'{grid} x {grid}{", refined" if refine else ""}',
                        f'{row.seconds:.2f}',
                        f'{row.cpu_seconds:.2f}',
                        f'{1e3 * row.cpu_seconds / grid**2:.1f}',
                        f'{row.masks:.1f}',
                        f'{row.found} of {row.objects}',
                    ]
                )
    heads = [
        'clicks',
        's per image',
        'of the processor, s',
        'for each click, ms',
        'masks per image',
        'annotated objects found',
    ]
    note = (
        f'\n\n{args.model}, {args.runtime}, {len(images)} images, {machine()}, which had other '
        f'work as well (load {load:.0f}).'
    )
    publish(table(heads, rows) + note, 'everything', args.doc)


if __name__ == '__main__':
    main()
