# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track`: tracks objects through a recording; writes a bag, masks, annotations or a video."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.commands.backend import add_backend_options, describe, runtime_arguments
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_PNG_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.prompting.prompt_text import SYNTAX

if TYPE_CHECKING:
    from tqdm import tqdm

    from tam_ros.io.bag_copy import BagCopy
    from tam_ros.io.bag_source import ImageTopic
    from tam_ros.io.frames import FrameSource
    from tam_ros.recordings.interruption import Interruption
    from tam_ros.recordings.offline import FramePrompt, RecordedFrame
    from tam_ros.recordings.results import Sink

_ALL = 'all'
# The kind of output by suffix of --out; any other name is a folder of PNG files.
_KINDS = {'.mcap': 'bag', '.json': 'coco'}
_UNSUPPORTED = ('.mp4', '.avi', '.mkv', '.mov', '.bag', '.db3', '.png', '.jpg', '.jpeg')


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('track', help='track objects through a recording')
    parser.add_argument(
        'source', help='video, folder of images, or bag (.bag, .mcap, .db3, folder)'
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument(
        '--rate', type=float, help='frames per second of images, or in place of those of a video'
    )

    what = parser.add_argument_group('what to track', 'at least one; prompts may be repeated')
    what.add_argument(
        '--prompt', dest='prompts', action='append', type=lambda text: ('prompt', text),
        metavar='PROMPT', help=SYNTAX,
    )  # fmt: skip
    what.add_argument(
        '--masks', dest='prompts', action='append', type=lambda text: ('masks', text),
        metavar='FILE.png[@FRAME]',
        help='indexed or grey image of the size of the frames; every value except 0 is an object',
    )  # fmt: skip

    what.add_argument(
        '--both-ways', action='store_true',
        help='also track each object backwards from its first prompt; every frame then uses all '
        'prompts (live streams are tracked forwards only)',
    )  # fmt: skip

    what.add_argument(
        '--load-tracks', type=Path, metavar='FILE',
        help='continue with the objects of an earlier recording, written by --save-tracks',
    )  # fmt: skip

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
    out.add_argument('--overlay', type=Path, help='video with the masks drawn in: NAME.mp4')
    out.add_argument(
        '--save-tracks', type=Path, metavar='FILE',
        help='write the objects and their memories, to continue in the next recording',
    )  # fmt: skip

    model = parser.add_argument_group('model')
    add_backend_options(model)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Track a recording. If it ends early, the outputs are complete up to that frame.

    Raises:
        UsageError: the options contradict each other or the outputs.
        SourceError: the recording cannot be read completely.
        PromptSpecError, MaskFileError, PromptError, FrameError: a prompt or an image is unusable.
        UnknownModelError, WeightsError: the model cannot be opened.
        OSError: an output cannot be written.
    """
    kind = _output_kind(options)
    _check_outputs(options, kind)
    prompts = _read_prompts(options.prompts, kind)
    if not prompts and not options.load_tracks:
        raise UsageError('nothing to track: give --prompt, --masks or --load-tracks')
    source = _open_source(options)
    topics = _topics_to_copy(options, source)
    track = _track_both_ways if options.both_ways else _track_forwards
    track(options, kind, source, prompts, topics)


def _track_forwards(
    options: argparse.Namespace,
    kind: str | None,
    source: FrameSource,
    prompts: list[FramePrompt],
    topics: list[str],
) -> None:
    from tam_ros.recordings import offline
    from tam_ros.tracking import Tracker, TrackerOptions

    limits = TrackerOptions(max_objects=_max_objects(prompts))
    with Tracker.open(**runtime_arguments(options), options=limits) as tracker:
        print(describe(tracker), flush=True)
        if options.load_tracks:
            tracker.load(options.load_tracks)
        offline.check(tracker, source, prompts)
        interruption = _write(
            options, kind, source, topics, offline.track(tracker, source, prompts)
        )
        if options.save_tracks:
            tracker.save(options.save_tracks)
            print(f'{options.save_tracks}: {len(tracker.objects)} objects')
        interruption.raise_if_requested()


def _track_both_ways(
    options: argparse.Namespace,
    kind: str | None,
    source: FrameSource,
    prompts: list[FramePrompt],
    topics: list[str],
) -> None:
    from tam_ros.recordings import both_ways, offline
    from tam_ros.tracking import ClipTracker, TrackerOptions

    limits = TrackerOptions(
        max_objects=_max_objects(prompts),
        max_conditioning=both_ways.conditioning_frames(prompts),
    )
    with ClipTracker.open(**runtime_arguments(options), options=limits) as tracker:
        print(describe(tracker), flush=True)
        offline.check(tracker, source, prompts)
        if any(item.frame for item in prompts):
            print('reading the frames up to the last prompt first', flush=True)
        interruption = _write(
            options, kind, source, topics, both_ways.track(tracker, source, prompts)
        )
        interruption.raise_if_requested()


def _max_objects(prompts: list[FramePrompt]) -> int:
    from tam_ros.tracking import TrackerOptions

    objects = {item.prompt.object_id for item in prompts}
    return max(TrackerOptions().max_objects, len(objects))


def _write(
    options: argparse.Namespace,
    kind: str | None,
    source: FrameSource,
    topics: list[str],
    results: Iterator[RecordedFrame],
) -> Interruption:
    """Track the frames and write the results until the end or a signal, and close the outputs."""
    from tam_ros.recordings.interruption import Interruption

    # The first frame is tracked before any output is created, so that its errors leave no files.
    results = itertools.chain([next(results)], results)
    with Interruption() as interruption, contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress(options, source.count))
        sinks, copy = _open_outputs(options, kind, source, topics, stack)
        for result in results:
            for sink in sinks:
                sink(result)
            progress.update()
            if interruption.requested:
                break
        else:
            if copy is not None:
                copy.copy_rest()
    return interruption


@contextlib.contextmanager
def _progress(options: argparse.Namespace, count: int | None) -> Iterator[tqdm[Any]]:
    """Show the progress; at the end, also after an error, print what was written."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # In a file every update is a new line, so updates are rarer there.
    interval = 0.1 if sys.stderr.isatty() else 10
    bar = tqdm(total=count, unit='frame', dynamic_ncols=True, mininterval=interval)
    try:
        with logging_redirect_tqdm([logging.getLogger('tam_ros')]), bar:
            yield bar
    finally:
        for path in filter(None, (options.out, options.overlay)):
            if bar.n:
                print(f'{path}: {bar.n} frame{"s" if bar.n > 1 else ""}', flush=True)


def _output_kind(options: argparse.Namespace) -> str | None:
    """Return the kind of --out: 'bag', 'png' or 'coco'; None without it."""
    if options.out is None:
        return None
    suffix = options.out.suffix.lower()
    if options.format is None and suffix in _UNSUPPORTED:
        raise UsageError(
            f'{options.out}: --out writes NAME.mcap, NAME.json or a folder of PNG files; a video '
            'is written by --overlay'
        )
    kind = options.format or _KINDS.get(suffix, 'png')
    if _KINDS.get(suffix, kind) != kind:
        raise UsageError(f'{options.out} and --format {kind} contradict each other')
    return kind


def _check_outputs(options: argparse.Namespace, kind: str | None) -> None:
    """Check the outputs before anything that takes time."""
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
    if kind == 'coco':
        try:
            import pycocotools.mask  # noqa: F401
        except ModuleNotFoundError as error:
            raise UsageError(
                'COCO annotations need the package pycocotools: pip install pycocotools'
            ) from error
    for path in filter(None, (options.out, options.overlay, options.save_tracks)):
        if path.exists():
            raise UsageError(f'{path} exists; choose another name or remove it')
        if not path.parent.is_dir():
            raise UsageError(f'{path.parent} is not a folder')


def _read_prompts(arguments: list[tuple[str, str]] | None, kind: str | None) -> list[FramePrompt]:
    from tam_ros.io.mask_files import MAX_INDEX
    from tam_ros.prompting.prompt_text import parse_prompts
    from tam_ros.recordings import offline

    prompts: list[FramePrompt] = []
    for option, text in arguments or ():
        if option == 'prompt':
            prompts += map(offline.written_prompt, parse_prompts(text))
        else:
            prompts += offline.mask_prompts(*_split_frame(text))
    if kind == 'png':
        for item in prompts:
            if item.prompt.object_id > MAX_INDEX:
                raise UsageError(
                    f'the prompt {item.text!r} cannot be used: an indexed PNG has object ids '
                    f'up to {MAX_INDEX}'
                )
    return prompts


def _split_frame(text: str) -> tuple[str, int]:
    """Split FILE@FRAME; the name of the file may contain another @."""
    file, at, frame = text.rpartition('@')
    if not at or Path(text).exists():
        return text, 0
    if not frame.isascii() or not frame.isdigit():
        raise UsageError(f'{text!r}: the frame after @ must be a whole number from 0')
    return file, int(frame)


def _open_source(options: argparse.Namespace) -> FrameSource:
    """Open the recording; if the topic is ambiguous and stdin is a terminal, ask for it."""
    from tam_ros.io.frames import TopicChoiceError
    from tam_ros.io.open_source import open_source

    try:
        return open_source(options.source, options.topic, options.rate)
    except TopicChoiceError as error:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(f'{error}; choose it with --topic') from error
        return open_source(options.source, _ask_for_topic(error.topics), options.rate)


def _ask_for_topic(topics: tuple[ImageTopic, ...]) -> str:
    print('There are several image topics:')
    for number, topic in enumerate(topics, 1):
        print(f'  {number}  {topic}')
    while True:
        try:
            answer = input(f'Which one? 1 to {len(topics)}: ').strip()
        except EOFError as error:
            raise UsageError('no topic chosen; choose it with --topic') from error
        if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(topics):
            return topics[int(answer) - 1].name


def _topics_to_copy(options: argparse.Namespace, source: FrameSource) -> list[str]:
    """Return the topics selected by --copy; a recording that is not a bag has only `/image`."""
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
        log = logging.getLogger(__name__)
        for topic in result_topics.intersection(available):
            log.warning('%s is not copied: it is written by this run', topic)
        for topic, kind in undefined.items():
            log.warning('%s is not copied: the bag lacks the definition of %s', topic, kind)
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


def _open_outputs(
    options: argparse.Namespace,
    kind: str | None,
    source: FrameSource,
    topics: list[str],
    stack: contextlib.ExitStack,
) -> tuple[list[Sink], BagCopy | None]:
    """Open the outputs; return their sinks, and the copy of topics if there is one."""
    from tam_ros.io.bag_copy import BagCopy
    from tam_ros.io.bag_source import BagSource
    from tam_ros.io.bag_writer import BagWriter
    from tam_ros.io.coco_writer import CocoWriter
    from tam_ros.io.mask_files import MaskFolder
    from tam_ros.io.video_writer import VideoWriter
    from tam_ros.recordings import results

    sinks: list[Sink] = []
    copy = None
    if kind == 'bag':
        bag = stack.enter_context(BagWriter(options.out))
        from_bag = isinstance(source, BagSource)
        if topics and from_bag:
            copy = BagCopy(options.source, topics, bag)
        images = bool(topics) and not from_bag
        compress = options.labels == 'png'
        sinks.append(results.bag_sink(bag, compress=compress, images=images, copy=copy))
    elif kind == 'png':
        sinks.append(results.mask_sink(stack.enter_context(MaskFolder(options.out))))
    elif kind == 'coco':
        writer = stack.enter_context(CocoWriter(options.out))
        sinks.append(results.coco_sink(writer, source.name))
    if options.overlay:
        video = stack.enter_context(VideoWriter(options.overlay, source.rate_hz or 10))
        sinks.append(results.video_sink(video))
    return sinks, copy
