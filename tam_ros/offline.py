"""Tracks a recording from its first frame to its last, as a live stream would be tracked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tam_ros.io import sources
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.overlay import draw_overlay
from tam_ros.io.prompt_spec import PromptSpec, PromptSpecError, check_prompts
from tam_ros.io.video_writer import VideoWriter
from tam_ros.tracking import Frame as TrackedFrame
from tam_ros.tracking import Prompt, Tracker

# What the node publishes on, so that a bag made offline looks like a live one.
LABELS_TOPIC = '/track_node/labels'
OBJECTS_TOPIC = '/track_node/objects'

_log = logging.getLogger(__name__)


class Result(NamedTuple):
    """One frame of the recording and what the tracker says of it."""

    source: sources.Frame
    tracked: TrackedFrame


def check(
    tracker: Tracker, source: sources.FrameSource, prompts: Iterable[PromptSpec]
) -> tuple[int, int]:
    """Look at the first frame and refuse what could not be tracked, before any output is made.

    Returns:
        (height, width) of the first frame.

    Raises:
        SourceError: the recording cannot be read.
        PromptSpecError: a prompt outside the image or beyond the end.
        PromptError: a prompt that the tracker refuses.
    """
    size = next(iter(source)).rgb.shape[:2]
    check_prompts(prompts, size, source.count)
    for spec in prompts:
        tracker.check(as_prompt(spec), size)
    return size


def track(
    tracker: Tracker, source: sources.FrameSource, prompts: Iterable[PromptSpec]
) -> Iterator[Result]:
    """Track every frame and give the results as they come.

    Frames whose stamp is not later than the one before are left out with a warning, as the node
    leaves them out.

    Args:
        tracker: without objects.
        source: the recording.
        prompts: each is applied on the frame it names, those of one frame in the order given.

    Raises:
        SourceError: the recording is damaged; the frames before the damage have been given.
        PromptError, FrameError: the tracker refuses a prompt or an image.
        PromptSpecError: the recording ended before the frame that a prompt names.
    """
    waiting: dict[int, list[Prompt]] = {}
    for spec in prompts:
        waiting.setdefault(spec.frame, []).append(as_prompt(spec))
    newest = None
    due: list[Prompt] = []
    count = 0
    for index, frame in enumerate(source):
        count += 1
        due += waiting.pop(index, [])
        if newest is not None and frame.stamp <= newest:
            _log.warning(
                'frame %d left out: its stamp %.6f s is not later than %.6f s',
                *(index, frame.stamp, newest),
            )
            continue
        newest = frame.stamp
        yield Result(frame, tracker.step(frame.rgb, frame.stamp, due))
        due = []
    if waiting:
        raise PromptSpecError(
            f'a prompt names frame {min(waiting)}, but the recording ended after {count} frames'
        )


def bag_sink(bag: BagWriter, image_topic: str | None, compress: bool) -> Callable[[Result], None]:
    """Return what writes a result into a bag.

    Args:
        bag: open.
        image_topic: where the pictures go; None: they are left out.
        compress: label images as PNG instead of raw.
    """

    def write(result: Result) -> None:
        header, tracked = result.source.header, result.tracked
        if image_topic is not None:
            bag.write_image(image_topic, header, result.source.rgb)
        if compress:
            bag.write_labels_png(f'{LABELS_TOPIC}/compressed', header, tracked.labels)
        else:
            bag.write_labels(LABELS_TOPIC, header, tracked.labels)
        bag.write_objects(OBJECTS_TOPIC, header, tracked.labels.shape, tracked.objects)

    return write


def video_sink(video: VideoWriter) -> Callable[[Result], None]:
    """Return what writes a result as a picture with masks into a video."""

    def write(result: Result) -> None:
        tracked = result.tracked
        video.write(draw_overlay(result.source.rgb, tracked.labels, tracked.objects))

    return write


def as_prompt(spec: PromptSpec) -> Prompt:
    """Return a written prompt as the tracker takes it.

    Raises:
        PromptError: it means nothing.
    """
    if spec.box is not None:
        return Prompt.box(spec.object_id, spec.box)
    return Prompt.points(spec.object_id, spec.points, spec.labels)
