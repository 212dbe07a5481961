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
from tam_ros.commands.backend import (
    add_backend_options,
    add_hide_below,
    count,
    describe,
    runtime_arguments,
)
from tam_ros.commands.detect import add_tracking_options, open_for_tracking
from tam_ros.commands.text_prompts import add_text_options, check_text_options, text_prompts
from tam_ros.commands.track_outputs import (
    Outputs,
    add_output_options,
    check_outputs,
    output_kind,
)
from tam_ros.prompting.prompt_text import SYNTAX

if TYPE_CHECKING:
    from tqdm import tqdm

    from tam_ros.io.bag_source import ImageTopic
    from tam_ros.io.frames import FrameSource
    from tam_ros.recordings.interruption import Interruption
    from tam_ros.recordings.offline import FramePrompt, RecordedFrame


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
        '--mask-threshold', type=int, metavar='VALUE',
        help='--masks have one object each, the pixels of at least this value; for masks with a '
        'soft edge',
    )  # fmt: skip
    what.add_argument(
        '--max-objects', type=count, metavar='N',
        help='most objects in one file of --masks (default 16)',
    )  # fmt: skip

    add_hide_below(what)
    what.add_argument(
        '--both-ways', action='store_true',
        help='also track each object backwards from its first prompt; every frame then uses all '
        'prompts (live streams are tracked forwards only)',
    )  # fmt: skip

    what.add_argument(
        '--load-tracks', type=Path, metavar='FILE',
        help='continue with the objects of an earlier recording, written by --save-tracks',
    )  # fmt: skip

    add_tracking_options(parser.add_argument_group('detector', 'objects that nobody points at'))
    add_text_options(parser)
    add_output_options(parser)
    model = parser.add_argument_group('model')
    add_backend_options(model)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Track a recording. If it ends early, the outputs are complete up to that frame.

    Raises:
        UsageError: the options contradict each other or the outputs.
        SourceError: the recording cannot be read completely.
        PromptSpecError, MaskFileError, PromptError, FrameError: a prompt or an image is unusable.
        TextError: a text cannot be used.
        UnknownModelError, WeightsError: the model cannot be opened.
        OSError: an output cannot be written.
    """
    kind = output_kind(options)
    check_outputs(options, kind, _inputs(options))
    check_text_options(options)
    prompts = _read_prompts(options, kind)
    if not (prompts or options.load_tracks or options.texts or options.detect):
        raise UsageError(
            'nothing to track: give --prompt, --detect, --text, --masks or --load-tracks'
        )
    if options.detect and options.both_ways:
        raise UsageError('--detect and --both-ways cannot be combined: a detector looks forwards')
    from tam_ros.recordings.interruption import ending_by_exception

    with ending_by_exception():
        source = _open_source(options)
        prompts += text_prompts(options, source, prompts)
        with Outputs(options, kind, source) as outputs:
            track = _track_both_ways if options.both_ways else _track_forwards
            interruption = track(options, source, prompts, outputs)
            interruption.raise_if_requested()


def _inputs(options: argparse.Namespace) -> list[Path]:
    """Return the files and folders that are read."""
    from tam_ros.recordings.offline import split_frame

    masks = [split_frame(text)[0] for option, text in options.prompts or () if option == 'masks']
    given = [options.source, *masks, options.load_tracks]
    return [Path(path) for path in given if path is not None]


def _track_forwards(
    options: argparse.Namespace,
    source: FrameSource,
    prompts: list[FramePrompt],
    outputs: Outputs,
) -> Interruption:
    from tam_ros.recordings import detecting, offline
    from tam_ros.tracking import Tracker

    limits = offline.options_for(prompts, options.hide_below)
    if options.detect:
        limits = detecting.with_late_prompts(limits)
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(Tracker.open(**runtime_arguments(options), options=limits))
        print(describe(tracker), flush=True)
        found = None
        if options.detect:
            detector = stack.enter_context(open_for_tracking(options))
            found = detecting.DetectedObjects(
                detector, tracker, limits.max_objects, options.detect_every
            )
        if options.load_tracks:
            tracker.load(options.load_tracks)
        offline.check(tracker, source, prompts)
        results = offline.track(tracker, source, prompts, *([found.prompts] if found else []))
        interruption = _write(source, results, outputs)
        if found is not None:
            print(found.report())
        outputs.save_tracks(tracker)
        return interruption


def _track_both_ways(
    options: argparse.Namespace,
    source: FrameSource,
    prompts: list[FramePrompt],
    outputs: Outputs,
) -> Interruption:
    from tam_ros.recordings import both_ways, offline
    from tam_ros.tracking import ClipTracker

    limits = both_ways.options_for(prompts, options.hide_below)
    with ClipTracker.open(**runtime_arguments(options), options=limits) as tracker:
        print(describe(tracker), flush=True)
        offline.check(tracker, source, prompts)
        if any(item.frame for item in prompts):
            print('reading the frames up to the last prompt first', flush=True)
        return _write(source, both_ways.track(tracker, source, prompts), outputs)


def _write(
    source: FrameSource, results: Iterator[RecordedFrame], outputs: Outputs
) -> Interruption:
    """Track the frames and write the results until the end or a signal."""
    from tam_ros.recordings.interruption import Interruption

    # Tracking both ways reads the recording before the first result. Until then nothing has been
    # written, so that a signal need not wait.
    results = itertools.chain([next(results)], results)
    with Interruption() as interruption:
        try:
            with _progress(source.count) as progress:
                for result in results:
                    outputs.write(result)
                    progress.update()
                    if interruption.requested:
                        break
                else:
                    outputs.copy_rest()
        finally:
            outputs.finish()
    return interruption


@contextlib.contextmanager
def _progress(count: int | None) -> Iterator[tqdm[Any]]:
    """Show the progress."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # In a file every update is a new line, so updates are rarer there.
    interval = 0.1 if sys.stderr.isatty() else 10
    bar = tqdm(total=count, unit='frame', dynamic_ncols=True, mininterval=interval)
    with logging_redirect_tqdm([logging.getLogger('tam_ros')]), bar:
        yield bar


def _read_prompts(options: argparse.Namespace, kind: str | None) -> list[FramePrompt]:
    from tam_ros.io.mask_files import MAX_INDEX
    from tam_ros.prompting.prompt_text import parse_prompts
    from tam_ros.recordings import offline
    from tam_ros.tracking import TrackerOptions

    prompts: list[FramePrompt] = []
    limit = options.max_objects or TrackerOptions().max_objects
    for option, text in options.prompts or ():
        if option == 'prompt':
            prompts += map(offline.written_prompt, parse_prompts(text))
        else:
            file, frame = offline.split_frame(text)
            prompts += offline.mask_prompts(file, frame, options.mask_threshold, limit)
    if kind == 'png':
        for item in prompts:
            if item.prompt.object_id > MAX_INDEX:
                raise UsageError(
                    f'the prompt {item.text!r} cannot be used: an indexed PNG has object ids '
                    f'up to {MAX_INDEX}'
                )
    return prompts


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
