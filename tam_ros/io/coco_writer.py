# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes tracked masks as COCO annotations: one JSON file, masks run-length encoded or polygons.

The layout is that of COCO instances (https://cocodataset.org/#format-data), so that
`pycocotools.coco.COCO` opens it. Most importers read polygons only, and skip annotations with
`iscrowd`, so that is always 0. Both kinds of segmentation are the same pixels (see `outlines`),
which `area` and `bbox` belong to. In addition, an annotation has the `track_id` of its object, a
`score` and a `state`; an image has its `frame_index` and `stamp_ns`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.io.disk_space import ensure_room
from tam_ros.io.outlines import polygons
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.reading import reason

Segmentation: TypeAlias = Literal['rle', 'polygons']

_HEAD = '{"annotations": ['
_SLACK = 4096  # bytes


class CocoWriteError(OutputError):
    """An annotation file cannot be written; the message gives the path and the reason."""


@dataclass(frozen=True)
class CocoImage:
    """The entry of one frame.

    Attributes:
        index: index in the recording, from 0.
        file_name: name of its image file, or another name.
        size: (height, width), pixels.
        stamp_ns: nanoseconds.
    """

    index: int
    file_name: str
    size: tuple[int, int]
    stamp_ns: int


class CocoWriter(Closing):
    """A new annotation file. Use it as a context manager: it is then complete after an exception.

    Annotations are written frame by frame, because those of a long recording would fill the
    memory. The list of images follows at the end.
    """

    def __init__(
        self, path: str | Path, masks: Segmentation = 'rle', classes: Sequence[str] = ('object',)
    ) -> None:
        """Create the file.

        Args:
            path: of the file.
            masks: how masks are written.
            classes: names of the categories; their ids count from 1.

        Raises:
            ModuleNotFoundError: pycocotools, which `rle` needs, is not installed.
            OutputError: the path exists, or cannot be written.
        """
        self._segment = _polygons if masks == 'polygons' else _run_lengths()
        self._path = Path(path)
        self._images: list[dict[str, Any]] = []
        self._categories = _categories(classes)
        self._annotations = 0
        self._tail_size = _SLACK
        self._output = NewOutput(path)
        try:
            self._file = self._output.partial.open('xb')
            self._file.write(_HEAD.encode())
            self._file.flush()
        except OSError as error:
            self._output.close()
            raise self._error('cannot be written', error) from error

    def write(
        self,
        image: CocoImage,
        objects: Iterable[Any],
        class_of: Callable[[int], int] = lambda object_id: 0,
    ) -> None:
        """Append one frame.

        Args:
            image: the frame.
            objects: `tam_ros.tracking.TrackedObject`s; one with an empty mask gets no annotation.
            class_of: returns the place of an object's class in `classes`.

        Raises:
            CocoWriteError: the disk is full; the file can still be closed with the frames before.
        """
        height, width = image.size
        entry = {
            'id': image.index + 1,
            'file_name': image.file_name,
            'height': height,
            'width': width,
            'frame_index': image.index,
            'stamp_ns': image.stamp_ns,
        }
        seen = [item for item in objects if item.area]
        annotations = [
            self._annotation(number, image.index + 1, item, class_of(item.id) + 1)
            for number, item in enumerate(seen, self._annotations + 1)
        ]
        text = ''.join(
            (',\n' if annotation['id'] > 1 else '\n') + json.dumps(annotation)
            for annotation in annotations
        )
        tail_size = self._tail_size + len(json.dumps(entry)) + 2
        try:
            ensure_room(self._output.partial, len(text) + tail_size)
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise self._error('cannot be written any further', error) from error
        self._images.append(entry)
        self._annotations += len(annotations)
        self._tail_size = tail_size

    def close(self) -> None:
        """Finish the file. Calling it again does nothing."""
        if self._file.closed:
            return
        tail = _tail(map(json.dumps, self._images), self._categories)
        try:
            with self._file:
                self._file.write(tail.encode())
        except OSError as error:
            raise self._error('cannot be finished', error) from error
        finally:
            self._output.publish()

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        self._file.close()
        self._output.close()

    def _annotation(self, number: int, image_id: int, item: Any, category: int) -> dict[str, Any]:
        x0, y0, x1, y1 = item.box
        return {
            'id': number,
            'image_id': image_id,
            'category_id': category,
            'track_id': item.id,
            'segmentation': self._segment(item.mask),
            'area': item.area,
            'bbox': [x0, y0, x1 - x0, y1 - y0],
            'iscrowd': 0,
            'score': round(item.score, 6),
            'state': str(getattr(item.state, 'value', item.state)),
        }

    def _error(self, what: str, error: OSError) -> CocoWriteError:
        return CocoWriteError(f'{self._path} {what}: {reason(error)}')


def joined(paths: Iterable[Path], classes: Sequence[str]) -> Iterator[str]:
    """Yield the text of a file with the contents of several, whose ids are counted anew.

    Args:
        paths: files of a `CocoWriter` with these classes.
        classes: names of the categories.
    """
    yield _HEAD
    images: list[str] = []
    annotations = 0
    for path in paths:
        content = json.loads(path.read_bytes())
        first = len(images)
        numbers = {one['id']: first + place for place, one in enumerate(content['images'], 1)}
        images += [json.dumps(one | {'id': numbers[one['id']]}) for one in content['images']]
        for one in content['annotations']:
            annotations += 1
            one |= {'id': annotations, 'image_id': numbers[one['image_id']]}
            yield (',\n' if annotations > 1 else '\n') + json.dumps(one)
    yield _tail(images, _categories(classes))


def _categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {'id': number, 'name': name, 'supercategory': 'object'}
        for number, name in enumerate(classes, 1)
    ]


def _tail(images: Iterable[str], categories: list[dict[str, Any]]) -> str:
    lines = ',\n'.join(images)
    return f'\n],\n"images": [\n{lines}\n],\n"categories": {json.dumps(categories)}}}\n'


def _run_lengths() -> Callable[[NDArray[np.bool_]], dict[str, Any]]:
    from pycocotools import mask

    def encode(pixels: NDArray[np.bool_]) -> dict[str, Any]:
        rle = mask.encode(np.asfortranarray(pixels, np.uint8))
        return {'size': rle['size'], 'counts': rle['counts'].decode('ascii')}

    return encode


def _polygons(pixels: NDArray[np.bool_]) -> list[list[int]]:
    return [ring.reshape(-1).tolist() for ring in polygons(pixels)]
