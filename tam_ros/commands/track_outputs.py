# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The outputs of `tam track`: their options, checks, and writers.

All outputs are checked and reserved before anything that takes time, and a run that ends before
its first frame leaves none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tam_ros.closing import Closing
from tam_ros.commands import UsageError
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_PNG_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.new_output import NewOutput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tam_ros.io.bag_copy import BagCopy
    from tam_ros.io.frames import FrameSource
    from tam_ros.io.video_writer import VideoWriter
    from tam_ros.recordings.offline import RecordedFrame
    from tam_ros.recordings.results import Sink
    from tam_ros.tracking import Tracker

_ALL = 'all'
_BESIDE = Path()  # --write-frames without a folder
# The kind of output by suffix of --out; any other name is a folder of PNG files.
_KINDS = {'.mcap': 'bag', '.json': 'coco'}
_UNSUPPORTED = ('.mp4', '.avi', '.mkv', '.mov', '.bag', '.db3', '.png', '.jpg', '.jpeg')

_log = logging.getLogger(__name__)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    out = parser.add_argument_group('results', 'at least one of --out and --overlay')
    out.add_argument(
        '--out', type=Path,
        help='NAME.mcap: a ROS 2 bag; NAME.json: COCO annotations; another name: a folder of '
        'indexed PNG files, one per frame',
    )  # fmt: skip
    out.add_argument(
        '--format', choices=('bag', 'png', 'coco'),
        help='kind of output, if the name of --out leaves it open; bag: a folder like those of '
        '`ros2 bag record`',
    )  # fmt: skip
    out.add_argument(
        '--labels', choices=('raw', 'png'), help='label images in a bag (default raw)'
    )
    out.add_argument(
        '--copy', action='append', default=[], metavar='TOPIC',
        help=f'copy this topic of the source into the bag; repeatable; {_ALL}: every topic',
    )  # fmt: skip
    out.add_argument(
        '--masks-as', choices=('rle', 'polygons'),
        help='masks in COCO annotations (default rle: run lengths); polygons: for importers that '
        'read nothing else, such as those of YOLO',
    )  # fmt: skip
    out.add_argument(
        '--write-frames', type=Path, nargs='?', const=_BESIDE, metavar='FOLDER',
        help='also write the frames that COCO annotations are about, as image files of the names '
        'in the annotations; without FOLDER into NAME_frames beside NAME.json',
    )  # fmt: skip
    out.add_argument('--overlay', type=Path, help='video with the masks drawn in: NAME.mp4')
    out.add_argument(
        '--save-tracks', type=Path, metavar='FILE',
        help='write the objects and their memories, to continue in the next recording',
    )  # fmt: skip


def output_kind(options: argparse.Namespace) -> str | None:
    """Return the kind of --out: 'bag', 'png' or 'coco'; None without it.

    Raises:
        UsageError: its name is that of another kind of file, or contradicts --format.
    """
    if options.out is None:
        return None
    suffix = options.out.suffix.lower()
    if options.format is None and suffix in _UNSUPPORTED:
        raise UsageError(
            f'{options.out}: --out writes NAME.mcap, NAME.json or a folder of PNG files; a video '
            'is written by --overlay'
        )
    kind: str = options.format or _KINDS.get(suffix, 'png')
    if _KINDS.get(suffix, kind) != kind:
        raise UsageError(f'{options.out} and --format {kind} contradict each other')
    return kind


def check_outputs(options: argparse.Namespace, kind: str | None, inputs: Iterable[Path]) -> None:
    """Check the options and the names of the outputs.

    Args:
        options: of the command line.
        kind: kind of --out.
        inputs: files and folders that are read.

    Raises:
        UsageError: they contradict each other, exist, or cannot be created.
    """
    if options.out is None and options.overlay is None:
        raise UsageError('nothing to write: give --out, --overlay or both')
    if options.both_ways and (options.load_tracks or options.save_tracks):
        raise UsageError(
            '--load-tracks and --save-tracks need forward tracking: use them without --both-ways'
        )
    if kind is None and options.format:
        raise UsageError('--format is the kind of --out: give --out as well')
    if kind != 'bag' and (options.copy or options.labels):
        raise UsageError('--copy and --labels are for bags: give --out NAME.mcap')
    if kind != 'coco' and (options.masks_as or options.write_frames):
        raise UsageError(
            '--masks-as and --write-frames are for COCO annotations: give --out NAME.json'
        )
    if options.write_frames == _BESIDE:
        options.write_frames = options.out.with_name(f'{options.out.stem}_frames')
    if kind == 'coco' and options.masks_as != 'polygons':
        try:
            import pycocotools.mask  # noqa: F401
        except ModuleNotFoundError as error:
            raise UsageError(
                'run-length encoded masks need the package pycocotools: pip install pycocotools; '
                '--masks-as polygons needs none'
            ) from error
    _check_paths(options, list(inputs))


def _check_paths(options: argparse.Namespace, inputs: list[Path]) -> None:
    taken: dict[Path, str] = {}
    for option in ('--out', '--write-frames', '--overlay', '--save-tracks'):
        path: Path | None = getattr(options, option[2:].replace('-', '_'))
        if path is None:
            continue
        for given in inputs:
            if path.exists() and given.exists() and os.path.samefile(path, given):
                raise UsageError(f'{option} {path} is read by this run: choose another name')
        if os.path.lexists(path):
            raise UsageError(f'{path} exists; choose another name or remove it')
        if not path.parent.is_dir():
            raise UsageError(f'{path.parent} is not a folder')
        resolved = path.parent.resolve() / path.name
        if resolved in taken:
            raise UsageError(f'{taken[resolved]} and {option} are the same file: {path}')
        taken[resolved] = option


def topics_to_copy(options: argparse.Namespace, source: FrameSource) -> list[str]:
    """Return the topics selected by --copy; a recording that is not a bag has only `/image`.

    Raises:
        UsageError: there is no such topic, or it cannot be copied.
    """
    if not options.copy:
        return []
    from tam_ros.io.bag_copy import topics_to_copy
    from tam_ros.io.bag_source import BagSource

    available = [IMAGE_TOPIC]
    undefined: dict[str, str] = {}
    if isinstance(source, BagSource):
        available, undefined = topics_to_copy(options.source)
    result_topics = {OBJECTS_TOPIC, LABELS_PNG_TOPIC if options.labels == 'png' else LABELS_TOPIC}
    if _ALL in options.copy:
        for topic in result_topics.intersection(available):
            _log.warning('%s is not copied: it is written by this run', topic)
        for topic, kind in undefined.items():
            _log.warning('%s is not copied: the bag lacks the definition of %s', topic, kind)
        return [topic for topic in available if topic not in result_topics]
    wanted = ['/' + name.strip('/') for name in options.copy]
    for topic in wanted:
        if topic in undefined:
            raise UsageError(
                f'{topic} cannot be copied: the bag lacks the definition of {undefined[topic]}'
            )
        if topic not in available:
            raise UsageError(
                f'{options.source} has no topic {topic!r} to copy; it has {", ".join(available)}'
            )
        if topic in result_topics:
            raise UsageError(f'{topic} cannot be copied: the results are written there')
    return wanted


class _Writer(Protocol):
    def close(self) -> None: ...

    def discard(self) -> None: ...


class Outputs(Closing):
    """The writers of a run. Their files appear when they are closed.

    Attributes:
        frames: how many frames have been written to all of them.
    """

    def __init__(self, options: argparse.Namespace, kind: str | None, source: FrameSource) -> None:
        """Reserve all outputs.

        Raises:
            OSError: one of them cannot be written; nothing is left of the others.
        """
        self.frames = 0
        self._writers: list[_Writer] = []
        self._sinks: list[Sink] = []
        self._copy: BagCopy | None = None
        self._tracks: NewOutput | None = None
        self._out: Path | None = options.out
        self._video: VideoWriter | None = None
        try:
            if options.save_tracks:
                self._tracks = NewOutput(options.save_tracks)
            self._open(options, kind, source, topics_to_copy(options, source))
        except BaseException:
            self.close()
            raise

    def write(self, result: RecordedFrame) -> None:
        """Write one frame to all outputs."""
        for sink in self._sinks:
            sink(result)
        self.frames += 1

    def copy_rest(self) -> None:
        """Copy the messages after the last frame.

        Raises:
            SourceError: the source is damaged.
        """
        if self._copy is not None:
            self._copy.copy_rest()

    def save_tracks(self, tracker: Tracker) -> None:
        """Write the objects of a tracker, if the options say so."""
        if self._tracks is not None:
            tracker.save(self._tracks.partial)
            self._tracks.publish()
            print(f'{self._tracks.path}: {len(tracker.objects)} objects', flush=True)

    def finish(self) -> None:
        """Close the writers of the frames and print what was written; see `close`."""
        writers, self._writers = self._writers, []
        with contextlib.ExitStack() as stack:
            for writer in writers:
                stack.callback(writer.close if self.frames else writer.discard)
        if writers and self.frames:
            frames = f'{self.frames} frame{"s" if self.frames > 1 else ""}'
            if self._out is not None:
                print(f'{self._out}: {frames}', flush=True)
            if self._video is not None:
                print(f'{self._video.path}: {frames}, {self._video.codec}', flush=True)

    def close(self) -> None:
        """Close all outputs; without a single frame, nothing is left of them."""
        try:
            self.finish()
        finally:
            if self._tracks is not None:
                self._tracks.close()

    def _open(
        self,
        options: argparse.Namespace,
        kind: str | None,
        source: FrameSource,
        topics: list[str],
    ) -> None:
        from tam_ros.io.bag_copy import BagCopy
        from tam_ros.io.bag_source import BagSource
        from tam_ros.io.bag_writer import BagWriter
        from tam_ros.io.coco_writer import CocoWriter
        from tam_ros.io.frame_folder import FrameFolder
        from tam_ros.io.mask_files import MaskFolder
        from tam_ros.io.video_writer import VideoWriter
        from tam_ros.recordings import results

        if options.overlay:
            self._video = self._add(VideoWriter(options.overlay, source.rate_hz))
            self._sinks.append(results.video_sink(self._video))
        if kind == 'bag':
            bag = self._add(BagWriter(options.out))
            from_bag = isinstance(source, BagSource)
            if topics and from_bag:
                self._copy = BagCopy(options.source, topics, bag)
            images = bool(topics) and not from_bag
            compress = options.labels == 'png'
            self._sinks.append(
                results.bag_sink(bag, compress=compress, images=images, copy=self._copy)
            )
        elif kind == 'png':
            self._sinks.append(results.mask_sink(self._add(MaskFolder(options.out))))
        elif kind == 'coco':
            frames = None
            if options.write_frames:
                frames = self._add(FrameFolder(options.write_frames))
            coco = self._add(CocoWriter(options.out, options.masks_as or 'rle'))
            self._sinks.append(results.coco_sink(coco, source.name, frames))

    def _add(self, writer: Any) -> Any:
        self._writers.append(writer)
        return writer
