# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam bench`: measures the time of a step on this machine, stage by stage."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.commands.backend import add_backend_options, count, describe, runtime_arguments

if TYPE_CHECKING:
    import numpy as np


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('bench', help='measure the time of a step on this machine')
    parser.add_argument(
        '--objects', type=count, default=1, help='number of tracked objects (default 1)'
    )
    parser.add_argument(
        '--frames',
        type=count,
        default=100,
        help='number of frames to measure, after the warm-up (default 100)',
    )
    parser.add_argument(
        '--size',
        type=_size,
        default=(480, 640),
        metavar='WxH',
        help='size of the generated images (default 640x480)',
    )
    parser.add_argument(
        '--video',
        metavar='SOURCE',
        help='video, folder of images or bag to measure on, in place of generated images',
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write the results into this file'
    )
    add_backend_options(
        parser,
        "checkpoint or folder of graphs, in place of the model's own; 'untrained' is enough here",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print a table.

    Raises:
        UsageError: too many objects, or the result cannot be written.
        SourceError: the video cannot be read or is too short.
        UnknownModelError, WeightsError: the model cannot be opened.
    """
    from tam_ros.evaluation import timing
    from tam_ros.tracking import Tracker, TrackerOptions

    if options.json and not options.json.absolute().parent.is_dir():
        raise UsageError(f'{options.json} cannot be written: the folder does not exist')
    limits = TrackerOptions(max_objects=_max_objects(options.objects))
    images, source = _images(options, timing.WARM_UP + options.frames)
    with Tracker.open(**runtime_arguments(options), options=limits) as tracker:
        timed = timing.time_steps(tracker, images, options.objects)
        about = {
            'machine': timing.machine(),
            'model': tracker.model,
            'weights': tracker.weights,
            'runtime': tracker.runtime,
            'facts': dict(tracker.info),
            'threads': options.threads,
            'objects': options.objects,
            'frames': timed.steps,
            'images': f'{source}, {timed.size[1]}x{timed.size[0]}',
        }
        description = describe(tracker)
    stages = timed.summary()
    print(
        description
        + (
            f', {options.threads} thread{"" if options.threads == 1 else "s"}'
            if options.threads
            else ''
        )
    )
    _print(about, stages)
    if options.json:
        options.json.write_text(json.dumps(about | {'stages': stages}, indent=1) + '\n')
        print(options.json)


def _images(options: argparse.Namespace, number: int) -> tuple[Iterator[np.ndarray], str]:
    """Return the images to measure on, at most `number`, and a description of them."""
    if options.video:
        from tam_ros.io.open_source import open_source

        source = open_source(options.video, options.topic)
        return (frame.rgb for frame in islice(source, number)), source.name
    from tam_ros.evaluation.synthetic import MovingDiscs

    scene = MovingDiscs(options.objects, options.size)
    return (scene.frame(index)[0] for index in range(number)), 'generated discs'


def _max_objects(objects: int) -> int:
    from tam_ros.tracking import TrackerOptions

    try:
        return max(TrackerOptions(max_objects=objects).max_objects, TrackerOptions().max_objects)
    except ValueError as error:
        raise UsageError(f'--objects: {error}') from error


def _print(about: dict[str, Any], stages: dict[str, dict[str, float]]) -> None:
    objects = f'{about["objects"]} object{"" if about["objects"] == 1 else "s"}'
    print(f'{objects}, {about["images"]}, {about["frames"]} frames; {about["machine"]}')
    width = max(map(len, stages))
    print(f'{"stage":{width}}  median ms  95 % ms')
    for stage, row in stages.items():
        print(f'{stage:{width}}  {row["median_ms"]:9.2f}  {row["p95_ms"]:7.2f}')
    print(f'{1e3 / stages["step"]["median_ms"]:.1f} steps per second at the median')


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if not found or not 32 <= int(found[1]) <= 8192 or not 32 <= int(found[2]) <= 8192:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a size such as 640x480, from 32 to 8192 pixels'
        )
    return int(found[2]), int(found[1])
