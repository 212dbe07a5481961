# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam detect`: what a detector sees in an image or a recording, before anything is tracked."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.commands.backend import add_backend_options, count, runtime_arguments, share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tam_ros.detection import Detections, Detector, DetectorOptions
    from tam_ros.io.frames import FrameSource

PICTURES = ('.png', '.jpg', '.jpeg')
VIDEOS = ('.mp4',)
MIN_SCORE = 0.15  # of the official demonstration of YOLACT
TRACKED_SCORE = 0.3  # lower ones become objects that are not there
LISTED = 20  # detections of one image that are printed


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'detect',
        help='show what a detector sees in an image or a recording',
        description='Nothing is tracked: every frame is looked at by itself.',
    )
    parser.add_argument(
        'source', help='image, video, folder of images, or bag (.bag, .mcap, .db3, folder)'
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument(
        '--every', type=count, default=1, metavar='N', help='look at every N-th frame (default 1)'
    )
    add_detector_options(parser)
    parser.add_argument(
        '--overlay', type=Path, metavar='NAME',
        help='what was seen, drawn in: .png or .jpg of an image, .mp4 of a recording',
    )  # fmt: skip
    model = parser.add_argument_group('model')
    add_backend_options(model)
    parser.set_defaults(run=run, model='everything')


def add_detector_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose among what a detector reports."""
    parser.add_argument(
        '--classes', type=_names, default=(), metavar='NAME,...',
        help='only objects of these classes (default: all that the detector knows)',
    )  # fmt: skip
    parser.add_argument(
        '--min-score', type=share, default=MIN_SCORE, metavar='SHARE',
        help=f'only objects with a score above this (default {MIN_SCORE})',
    )  # fmt: skip


def detector_options(options: argparse.Namespace) -> DetectorOptions:
    """Return the options of `add_detector_options`.

    Raises:
        UsageError: the score is 1.
    """
    from tam_ros.detection import DetectorOptions

    try:
        return DetectorOptions(min_score=options.min_score, classes=options.classes)
    except ValueError as error:
        raise UsageError(str(error)) from error


def add_tracking_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options of a command that tracks what a detector finds."""
    parser.add_argument(
        '--detect', metavar='NAME',
        help='also track what a detector finds: everything, or a model of the kind `detector` of '
        '`tam models`',
    )  # fmt: skip
    parser.add_argument(
        '--detect-every', type=count, default=30, metavar='N',
        help='frames from one look of the detector to the next (default 30)',
    )  # fmt: skip
    parser.add_argument(
        '--detect-weights', metavar='FILE', help='weights of the detector, in place of its own'
    )
    parser.add_argument(
        '--detect-classes', dest='classes', type=_names, default=(), metavar='NAME,...',
        help='only objects of these classes (default: all that the detector knows)',
    )  # fmt: skip
    parser.add_argument(
        '--detect-min-score', dest='min_score', type=share, default=TRACKED_SCORE, metavar='SHARE',
        help=f'only objects with a score above this (default {TRACKED_SCORE})',
    )  # fmt: skip


def open_for_tracking(options: argparse.Namespace) -> Detector:
    """Open the detector of `add_tracking_options`; everything mode uses the tracker's model.

    Raises:
        UsageError: a class is unknown.
        UnknownModelError, WeightsError: it cannot be opened.
    """
    arguments = runtime_arguments(options)
    settings = {'weights': options.detect_weights}
    if options.detect == 'everything':
        settings = {'model': options.model, 'weights': options.detect_weights or options.weights}
    arguments = {**arguments, 'model': None, **settings}
    return _open(options.detect, arguments, detector_options(options))


def _open(name: str, arguments: dict[str, Any], wanted: DetectorOptions) -> Detector:
    from tam_ros.detection import Detector

    if arguments['model'] is None:
        del arguments['model']
    try:
        return Detector.open(name, **arguments, options=wanted)
    except ValueError as error:
        if type(error) is not ValueError:  # for instance that there is no such detector
            raise
        raise UsageError(str(error)) from error


def run(options: argparse.Namespace) -> None:
    """Detect, print what is found, and write the overlay.

    Raises:
        UsageError: the options contradict each other or the output, or a class is unknown.
        SourceError: the source cannot be read.
        UnknownModelError, WeightsError: the detector cannot be opened.
        OSError: the overlay cannot be written.
    """
    from tam_ros.io.frames import TopicChoiceError
    from tam_ros.io.open_source import open_source

    _check_output(options.overlay)
    wanted = detector_options(options)
    arguments = runtime_arguments(options)
    try:
        source = open_source(options.source, options.topic)
    except TopicChoiceError as error:
        raise UsageError(f'{error}; choose it with --topic') from error
    suffix = options.overlay.suffix.lower() if options.overlay else ''
    if suffix in PICTURES and source.count != 1:
        raise UsageError(f'{options.overlay}: {source.name} has several frames; give NAME.mp4')
    name, arguments['model'] = options.model, None
    with _open(name, arguments, wanted) as detector:
        print(f'{name} ({", ".join(detector.info.values())})', flush=True)
        _detect(detector, source, options)


def _detect(detector: Detector, source: FrameSource, options: argparse.Namespace) -> None:
    from tam_ros.drawing.overlay import draw_detections
    from tam_ros.io.video_writer import VideoWriter

    counts: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    looked, seconds = 0, 0.0
    suffix = options.overlay.suffix.lower() if options.overlay else ''
    with contextlib.ExitStack() as stack:
        video = (
            stack.enter_context(VideoWriter(options.overlay, source.rate_hz))
            if suffix in VIDEOS
            else None
        )
        for index, frame in enumerate(source):
            if index % options.every:
                continue
            start = time.monotonic()
            found = detector.detect(frame.rgb)
            seconds += time.monotonic() - start
            looked += 1
            for name, number in found.counts():
                counts[name] += number
                frames[name] += 1
            if source.count == 1:
                print(_listing(found))
            else:
                print(f'frame {index}: {_counted(dict(found.counts()))}', flush=True)
            if video is not None:
                video.write(draw_detections(frame.rgb, found), frame.header.stamp_ns)
            elif options.overlay is not None:
                _write_picture(options.overlay, draw_detections(frame.rgb, found))
    if source.count != 1:
        print(f'{looked} frames, {1000 * seconds / max(looked, 1):.0f} ms each')
        for name, number in counts.most_common():
            print(f'{_title(name)}: {number} detections on {frames[name]} frames')
    if options.overlay is not None:
        print(f'written: {options.overlay}')


def _listing(found: Detections) -> str:
    """Return a line for each of the best detections of an image."""
    lines = [_counted(dict(found.counts()))]
    if len(found):
        width = max(map(len, map(_title, found.labels)))
        lines.append(f'{"":{width}}  score  box (x0, y0, x1, y1)')
        rows = zip(found.labels, found.scores.tolist(), found.boxes.tolist(), strict=True)
        for name, score, box in list(rows)[:LISTED]:
            corners = ', '.join(f'{number:.0f}' for number in box)
            lines.append(f'{_title(name):{width}}  {score:5.2f}  {corners}')
    if len(found) > LISTED:
        lines.append(f'and {len(found) - LISTED} with lower scores')
    return '\n'.join(lines)


def _counted(counts: dict[str, int]) -> str:
    if not counts:
        return 'nothing was found'
    return ', '.join(f'{number} {_title(name)}' for name, number in counts.items())


def _title(name: str) -> str:
    return name or 'unnamed'


def _names(text: str) -> tuple[str, ...]:
    """Parse names that are divided by commas, as a `type` of argparse."""
    return tuple(name for part in text.split(',') if (name := part.strip()))


def _check_output(path: Path | None) -> None:
    """Raise UsageError before the model is opened if the overlay could not be written."""
    if path is None:
        return
    if path.suffix.lower() not in (*PICTURES, *VIDEOS):
        kinds = ', '.join((*PICTURES, *VIDEOS))
        raise UsageError(f'--overlay {path}: the name must end in one of {kinds}')
    if os.path.lexists(path):
        raise UsageError(f'{path} exists; choose another name or remove it')
    if not path.parent.is_dir():
        raise UsageError(f'{path.parent} is not a folder')


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    from tam_ros.io.frame_folder import encode_frame
    from tam_ros.new_output import write_file

    try:
        data = encode_frame(rgb, path.suffix.lower())
    except ValueError as error:
        raise UsageError(f'{path} cannot be written: {error}') from error
    write_file(path, data)
