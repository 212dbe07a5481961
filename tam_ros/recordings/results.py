# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes the results of a recording: into a bag, a folder of masks, annotations, a video."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tam_ros.drawing.overlay import draw_overlay
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_PNG_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.io.bag_copy import BagCopy
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.coco_writer import CocoImage, CocoWriter
from tam_ros.io.frame_folder import FrameFolder
from tam_ros.io.mask_files import MaskFolder
from tam_ros.io.video_writer import VideoWriter
from tam_ros.recordings.offline import RecordedFrame

Sink = Callable[[RecordedFrame], None]
"""Writes the result of one frame."""


def bag_sink(
    bag: BagWriter, *, compress: bool = False, images: bool = False, copy: BagCopy | None = None
) -> Sink:
    """Return a sink that writes into a bag.

    Args:
        bag: open.
        compress: write label images as PNG instead of raw.
        images: also write the images; for recordings that are not bags.
        copy: copies topics of the tracked bag; its messages are written in time order with the
            results.
    """

    def write(result: RecordedFrame) -> None:
        source, tracked = result.source, result.tracked
        header, time_ns = source.header, source.recorded_ns
        if copy is not None:
            copy.copy_until(header.stamp_ns if time_ns is None else time_ns)
        if images:
            bag.write_image(IMAGE_TOPIC, header, source.rgb, time_ns)
        if compress:
            bag.write_labels_png(LABELS_PNG_TOPIC, header, tracked.labels, time_ns)
        else:
            bag.write_labels(LABELS_TOPIC, header, tracked.labels, time_ns)
        size = tracked.labels.shape
        bag.write_objects(OBJECTS_TOPIC, header, size, tracked.objects, time_ns)

    return write


def mask_sink(folder: MaskFolder) -> Sink:
    """Return a sink that writes indexed PNG files, named like the image file or by frame index."""

    def write(result: RecordedFrame) -> None:
        name = Path(result.source.file).stem or f'{result.index:05}'
        folder.write(name, result.tracked.labels)

    return write


def coco_sink(writer: CocoWriter, recording: str, frames: FrameFolder | None = None) -> Sink:
    """Return a sink that writes COCO annotations.

    Args:
        writer: open.
        recording: name of the recording, used to name frames that have no image file.
        frames: where the frames are written as files of these names, as they were tracked.
    """
    # Importers make names of files of it, beside those of other recordings.
    prefix = re.sub(r'[^\w.-]+', '_', Path(recording).stem).strip('_') or 'frame'

    def write(result: RecordedFrame) -> None:
        source, tracked = result.source, result.tracked
        name = source.file or f'{prefix}_{result.index:05}.jpg'
        image = CocoImage(result.index, name, tracked.labels.shape, source.header.stamp_ns)
        if frames is not None:
            frames.write(name, source.rgb)
        writer.write(image, tracked.objects)

    return write


def video_sink(video: VideoWriter) -> Sink:
    """Return a sink that writes the frames, with the masks drawn in, into a video."""

    def write(result: RecordedFrame) -> None:
        tracked = result.tracked
        drawn = draw_overlay(result.source.rgb, tracked.labels, tracked.objects)
        video.write(drawn, result.source.header.stamp_ns)

    return write
