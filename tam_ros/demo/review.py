# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Goes through a recorded demo once: compares it with the truth and draws it."""

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
    """What going through the bag gave."""

    image_stamps: list[int]  # of all images, nanoseconds
    scores: list[dict[int, float]]  # J of every object, for each tracked image with truth
    tiles: list[Tile]  # for the contact sheet


class Answer(NamedTuple):
    """One tracked image: the picture and what the node made of it."""

    stamp_ns: int
    rgb: np.ndarray  # uint8 [H, W, 3]
    labels: np.ndarray  # integer [H, W]
    objects: list[Any]  # with id, state and score
    truth: np.ndarray | None  # uint8 [H, W]


def review(
    bag: Path, object_ids: Iterable[int], tracked: int, video: Path, rate_hz: float
) -> Review:
    """Compare a recording with the truth, where it holds one, and write the overlay video.

    Args:
        bag: the recording.
        object_ids: the objects that were prompted; J is worked out for those of them that the
            truth knows.
        tracked: how many images have an answer, for the progress bar and the choice of frames.
        video: the file to write.
        rate_hz: its frames a second.
    """
    chosen = set(np.linspace(0, tracked - 1, SHEET_TILES).round().astype(int).tolist())
    result = Review([], [], [])
    known: list[int] | None = None
    progress = tqdm(total=tracked, desc='drawing', unit='frame')
    with progress, VideoWriter(video, rate_hz) as writer:
        for messages in _by_stamp(bag):
            if IMAGE_TOPIC in messages:
                result.image_stamps.append(_stamp_ns(messages[IMAGE_TOPIC]))
            answer = _answer(messages)
            if answer is None:
                continue
            drawn = draw_overlay(answer.rgb, answer.labels, answer.objects)
            writer.write(drawn)
            if answer.truth is not None:
                if known is None:
                    known = [key for key in object_ids if (answer.truth == key).any()]
                result.scores.append(label_similarity(answer.truth, answer.labels, known))
            if progress.n in chosen:
                result.tiles.append(_tile(drawn, answer, result))
            progress.update()
    return result


def write_sheet(tiles: list[Tile], picture: Path, title: str, notes: list[str]) -> None:
    """Write the contact sheet as a PNG file."""
    sheet = Image.fromarray(contact_sheet(tiles, title, notes, tile_width=_TILE_WIDTH))
    # 256 colours are enough for the eye and a quarter of the size: a page can carry it.
    colours = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(picture, optimize=True)


def _tile(drawn: np.ndarray, answer: Answer, result: Review) -> Tile:
    seconds = (answer.stamp_ns - result.image_stamps[0]) * 1e-9
    if answer.truth is None:
        return Tile(drawn, f'{seconds:.1f} s')
    drawn = drawn.copy()
    for object_id in result.scores[-1]:
        outline(drawn, answer.truth, object_id, _WHITE)
    scores = ', '.join(f'{key}: {value:.2f}' for key, value in result.scores[-1].items())
    return Tile(drawn, f'{seconds:.1f} s    J of object {scores}')


def _answer(messages: dict[str, Any]) -> Answer | None:
    if not {IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC} <= messages.keys():
        return None
    image, truth = messages[IMAGE_TOPIC], messages.get(TRUTH_TOPIC)
    return Answer(
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
    """Give the messages that share a stamp, by topic, in order of the stamps."""
    group: dict[str, Any] = {}
    current = None
    with AnyReader([bag]) as reader:
        # Everything is recorded under the stamp of its image.
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
