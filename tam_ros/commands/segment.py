# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam segment`: segments what prompts, or a grid of clicks, show in one image."""

from __future__ import annotations

import argparse
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tam_ros.commands import UsageError
from tam_ros.commands.backend import add_backend_options, describe, runtime_arguments, share
from tam_ros.prompting.prompt_text import SYNTAX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tam_ros.io.frames import Frame
    from tam_ros.segmentation import Segmenter

OVERLAYS = ('.png', '.jpg', '.jpeg')


@dataclass(frozen=True, eq=False)
class Segment:
    """One mask, with the names of fields that the writers of tracked objects read.

    Attributes:
        id: number of the object.
        mask: bool [H, W].
        box: (x0, y0, x1, y1) of the mask in pixels; None if it is empty.
        area: of the mask, pixels.
        score: predicted IoU.
        stability: see `tam_ros.segmentation.Segmentation`.
    """

    id: int
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int] | None
    area: int
    score: float
    stability: float

    @property
    def state(self) -> str:
        """`visible`, or `occluded` if the mask is empty, as of tracked objects."""
        return 'visible' if self.area else 'occluded'


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'segment',
        help='segment objects in one image: those of prompts, or everything',
        description='Without --prompt, everything is segmented that a grid of clicks finds.',
    )
    parser.add_argument('image', help='an image; of a recording, the first frame')
    parser.add_argument(
        '--frame', type=int, default=0, metavar='N', help='of a recording, this frame, from 0'
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument(
        '--prompt', dest='prompts', action='append', default=[], metavar='PROMPT',
        help=f'may be repeated; {SYNTAX}',
    )  # fmt: skip

    grid = parser.add_argument_group(
        'everything', 'without --prompt; the defaults depend on the model'
    )
    grid.add_argument(
        '--grid', dest='points_per_side', type=int, metavar='N', help='clicks along each side'
    )
    grid.add_argument(
        '--min-iou', dest='min_predicted_iou', type=share, metavar='SHARE',
        help='drop masks with a lower predicted IoU',
    )  # fmt: skip
    grid.add_argument(
        '--min-stability', type=share, metavar='SHARE',
        help='drop masks that depend more on their threshold',
    )  # fmt: skip
    grid.add_argument(
        '--min-region', type=int, metavar='PIXELS',
        help='remove smaller holes and separate parts of masks',
    )  # fmt: skip
    grid.add_argument(
        '--refine', action='store_true', default=None,
        help='predict each mask again with itself as a further prompt; takes four times as long',
    )  # fmt: skip

    out = parser.add_argument_group('outputs')
    out.add_argument(
        '--out', type=Path, metavar='NAME',
        help='NAME.png: object ids in an indexed image, the smaller object where two overlap; '
        'NAME.json: COCO annotations with complete masks',
    )  # fmt: skip
    out.add_argument(
        '--overlay', type=Path, metavar='NAME',
        help='the image with the masks drawn in, .png or .jpg',
    )  # fmt: skip
    add_backend_options(parser.add_argument_group('model'))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Segment one image, print the objects, and write the outputs.

    Raises:
        UsageError: the options contradict each other or the outputs.
        SourceError: the image cannot be read.
        PromptSpecError, PromptError, FrameError: a prompt or the image is unusable.
        UnknownModelError, WeightsError: the model cannot be opened.
        OSError: an output cannot be written.
    """
    _check_outputs(options)
    grid = ('points_per_side', 'min_predicted_iou', 'min_stability', 'min_region', 'refine')
    changes = {name: value for name in grid if (value := getattr(options, name)) is not None}
    if options.prompts and changes:
        raise UsageError('the options of everything are for runs without --prompt')
    from tam_ros.segmentation import EverythingOptions, Segmenter

    try:
        everything = EverythingOptions.of(options.model, **changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    frame = _read_frame(options)
    with Segmenter.open(**runtime_arguments(options)) as segmenter:
        print(describe(segmenter), flush=True)
        segmenter.set_image(frame.rgb)
        if options.prompts:
            segments = _of_prompts(segmenter, options.prompts)
        else:
            found = enumerate(segmenter.everything(everything), 1)
            segments = [
                Segment(number, one.mask, one.box, one.area, one.predicted_iou, one.stability)
                for number, one in found
            ]
    print(_table(segments))
    _write(options, frame, segments)


def _read_frame(options: argparse.Namespace) -> Frame:
    from tam_ros.io.frames import TopicChoiceError
    from tam_ros.io.open_source import open_source

    if options.frame < 0:
        raise UsageError(f'--frame is {options.frame}; a whole number from 0')
    try:
        source = open_source(options.image, options.topic)
    except TopicChoiceError as error:
        raise UsageError(f'{error}; choose it with --topic') from error
    frame = next(itertools.islice(iter(source), options.frame, None), None)
    if frame is None:
        raise UsageError(f'{options.image} has no frame {options.frame}')
    return frame


def _of_prompts(segmenter: Segmenter, texts: list[str]) -> list[Segment]:
    """Return the object of each id, of which the prompts are merged as the tracker does it."""
    import numpy as np

    from tam_ros.prompting.prompt_text import parse_prompts
    from tam_ros.recordings.offline import written_prompt
    from tam_ros.tracking import Prompt
    from tam_ros.tracking.frame_result import bounding_box

    prompts: dict[int, list[Prompt]] = {}
    for spec in itertools.chain.from_iterable(map(parse_prompts, texts)):
        if spec.frame:
            raise UsageError(f'the prompt {spec!s} is for another frame: give --frame instead')
        prompts.setdefault(spec.object_id, []).append(written_prompt(spec).prompt)
    segments = []
    for number, given in sorted(prompts.items()):
        found = segmenter.segment(Prompt.merged(given))
        mask = found.masks[0]
        iou, stability = float(found.predicted_iou[0]), float(found.stability[0])
        area = int(np.count_nonzero(mask))
        segments.append(Segment(number, mask, bounding_box(mask), area, iou, stability))
    return segments


def _table(segments: list[Segment]) -> str:
    if not segments:
        return 'nothing was found'
    lines = ['  id  predicted IoU  stability    area  box (x0, y0, x1, y1)']
    for one in segments:
        box = 'empty' if one.box is None else ', '.join(map(str, one.box))
        lines.append(f'{one.id:4}  {one.score:13.2f}  {one.stability:9.2f}  {one.area:6}  {box}')
    return '\n'.join(lines)


def _check_outputs(options: argparse.Namespace) -> None:
    """Raise UsageError before the model is opened if an output could not be written."""
    kinds = {'out': ('.png', '.json'), 'overlay': OVERLAYS}
    for name, suffixes in kinds.items():
        path: Path | None = getattr(options, name)
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise UsageError(f'--{name} {path}: the name must end in {" or ".join(suffixes)}')
        if os.path.lexists(path):
            raise UsageError(f'{path} exists; choose another name or remove it')
        if not path.parent.is_dir():
            raise UsageError(f'{path.parent} is not a folder')
    if options.out is not None and options.out == options.overlay:
        raise UsageError(f'--out and --overlay are the same file: {options.out}')


def _write(options: argparse.Namespace, frame: Frame, segments: list[Segment]) -> None:
    import numpy as np

    from tam_ros.drawing.overlay import draw_overlay
    from tam_ros.io.coco_writer import CocoImage, CocoWriter
    from tam_ros.io.frame_folder import encode_frame
    from tam_ros.io.mask_files import encode_labels
    from tam_ros.new_output import write_file

    height, width = frame.rgb.shape[:2]
    labels = np.zeros((height, width), np.uint16)
    for one in sorted(segments, key=lambda one: -one.area):
        labels[one.mask] = one.id
    if options.out is not None and options.out.suffix.lower() == '.json':
        name = frame.file or f'{Path(options.image).stem}_{options.frame:05}.png'
        with CocoWriter(options.out) as writer:
            image = CocoImage(options.frame, name, (height, width), frame.header.stamp_ns)
            writer.write(image, segments)
    elif options.out is not None:
        write_file(options.out, encode_labels(labels))
    if options.overlay is not None:
        drawn = draw_overlay(frame.rgb, labels, segments)
        try:
            data = encode_frame(drawn, options.overlay.suffix.lower())
        except ValueError as error:
            raise UsageError(f'{options.overlay} cannot be written: {error}') from error
        write_file(options.overlay, data)
    for path in (options.out, options.overlay):
        if path is not None:
            print(f'written: {path}')
