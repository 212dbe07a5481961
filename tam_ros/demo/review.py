# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads a recorded demo once: compares it with the ground truth and draws it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rosbags.highlevel import AnyReader
from tqdm import tqdm

from tam_ros.drawing.contact_sheet import Tile, contact_sheet
from tam_ros.drawing.overlay import draw_overlay, outline
from tam_ros.evaluation.jaccard import label_similarity
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC, STATE_NAMES
from tam_ros.io.encodings import decode
from tam_ros.io.video_writer import VideoWriter

TRUTH_TOPIC = '/truth'

SHEET_TILES = 9
_TILE_WIDTH = 340  # pixels

_WHITE = (255, 255, 255)


class Review(NamedTuple):
    """Results of reading the bag.

    Attributes:
        image_stamps: stamps of all images, nanoseconds.
        scores: J of each object, for each tracked image with ground truth.
        tiles: tiles for the contact sheet.
    """

    image_stamps: list[int]
    scores: list[dict[int, float]]
    tiles: list[Tile]


class ReviewedImage(NamedTuple):
    """One tracked image and its results.

    Attributes:
        stamp_ns: stamp of the image, nanoseconds.
        rgb: uint8 [H, W, 3].
        labels: integer [H, W].
        objects: each with `id`, `state` and `score`.
        truth: uint8 [H, W], or None.
    """

    stamp_ns: int
    rgb: np.ndarray
    labels: np.ndarray
    objects: list[Any]
    truth: np.ndarray | None


def review(
    bag: Path, object_ids: Iterable[int], tracked: int, video: Path, rate_hz: float
) -> Review:
    """Compare a recording with its ground truth, if it has one, and write the overlay video.

    Args:
        bag: the recording.
        object_ids: the objects that were prompted; J is computed for those in the ground truth.
        tracked: number of images with results, for the progress bar and the choice of tiles.
        video: the file to write.
        rate_hz: its frames per second.
    """
    chosen = set(np.linspace(0, tracked - 1, SHEET_TILES).round().astype(int).tolist())
    result = Review([], [], [])
    known: list[int] | None = None
    progress = tqdm(total=tracked, desc='drawing', unit='frame')
    with progress, VideoWriter(video, rate_hz) as writer:
        for messages in _by_stamp(bag):
            if IMAGE_TOPIC in messages:
                result.image_stamps.append(_stamp_ns(messages[IMAGE_TOPIC]))
            image = _tracked_image(messages)
            if image is None:
                continue
            drawn = draw_overlay(image.rgb, image.labels, image.objects)
            writer.write(drawn)
            if image.truth is not None:
                if known is None:
                    known = [key for key in object_ids if (image.truth == key).any()]
                result.scores.append(label_similarity(image.truth, image.labels, known))
            if progress.n in chosen:
                result.tiles.append(_tile(drawn, image, result))
            progress.update()
    return result


def write_sheet(tiles: list[Tile], path: Path, title: str, notes: list[str]) -> None:
    """Write the contact sheet as a PNG file."""
    sheet = Image.fromarray(contact_sheet(tiles, title, notes, tile_width=_TILE_WIDTH))
    # With 256 colours the file has a quarter of the size and looks the same.
    colours = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(path, optimize=True)


def _tile(drawn: np.ndarray, image: ReviewedImage, result: Review) -> Tile:
    seconds = (image.stamp_ns - result.image_stamps[0]) * 1e-9
    if image.truth is None:
        return Tile(drawn, f'{seconds:.1f} s')
    drawn = drawn.copy()
    for object_id in result.scores[-1]:
        outline(drawn, image.truth, object_id, _WHITE)
    scores = ', '.join(f'{key}: {value:.2f}' for key, value in result.scores[-1].items())
    return Tile(drawn, f'{seconds:.1f} s    J of object {scores}')


def _tracked_image(messages: dict[str, Any]) -> ReviewedImage | None:
    if not {IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC} <= messages.keys():
        return None
    image, truth = messages[IMAGE_TOPIC], messages.get(TRUTH_TOPIC)
    return ReviewedImage(
        _stamp_ns(image),
        decode(image.encoding, image.height, image.width, image.step, image.data),
        _labels(messages[LABELS_TOPIC]),
        [
            SimpleNamespace(id=item.id, state=STATE_NAMES[item.state], score=item.score)
            for item in messages[OBJECTS_TOPIC].objects
        ],
        None if truth is None else _labels(truth),
    )


def _by_stamp(bag: Path) -> Iterator[dict[str, Any]]:
    """Yield the messages that share a stamp, by topic, in the order of the stamps."""
    group: dict[str, Any] = {}
    current = None
    with AnyReader([bag]) as reader:
        # The recorder writes every message at the stamp of its image.
        for connection, stamp, data in reader.messages():
            if stamp != current and group:
                yield group
                group = {}
            current = stamp
            group[connection.topic] = reader.deserialize(data, connection.msgtype)
    if group:
        yield group


def _labels(message: Any) -> np.ndarray:
    dtype = np.uint8 if message.encoding == 'mono8' else np.uint16
    return message.data.view(dtype).reshape(message.height, -1)


def _stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
