# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where the results of a recording are in the output folder, one class for each kind of result.

A layout writes one recording into a draft folder that has the structure of the output folder; the
whole draft is published when the recording is finished (`results.py`). What a data set has once,
such as a list of its recordings, is written by `finish` from the `parts` of all recordings.

Masks lose nothing; frames are JPEG or PNG as the job says, encoded once for all layouts.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.coco_writer import CocoImage, CocoWriter, joined
from tam_ros.io.frame_folder import encode_frame
from tam_ros.io.mask_files import encode_labels
from tam_ros.io.outlines import one_ring, polygons
from tam_ros.io.video_writer import VideoWriter
from tam_ros.recordings import results
from tam_ros.recordings.offline import RecordedFrame

Part = dict[str, Any]
"""What a data set needs to know of a recording, as JSON."""

CLASS = 'object'
"""The class of all objects of a job that names none."""

FinalFiles = dict[str, Iterable[str]]
"""The text of files, in pieces, by path in the output folder."""


@dataclass(frozen=True)
class Place:
    """Where a recording is written, and what the layouts need to know of it.

    Attributes:
        draft: folder with the structure of the output folder.
        name: of the recording, in the names of files.
        split: `train` or `val`.
        classes: class of each object, by id; without any, they are all of `CLASS`.
        names: all classes of the job; their numbers in data sets are their places in it.
        suffix: of image files, `.jpg` or `.png`.
        rate_hz: frames per second, for videos; None: by the stamps.
        polygons: whether COCO annotations have polygons.
    """

    draft: Path
    name: str
    split: str
    classes: Mapping[int, str]
    names: Sequence[str]
    suffix: str
    rate_hz: float | None
    polygons: bool

    def file(self, *parts: str) -> Path:
        """Return the path of a file in the draft, and create its folder."""
        path = self.draft.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def number(self, object_id: int) -> int:
        """Return the number of an object's class, from 0."""
        return self.names.index(self.classes.get(object_id, CLASS))


class Picture:
    """The frame of a result as an image file, encoded once."""

    def __init__(self, rgb: NDArray[np.uint8], suffix: str) -> None:
        self._rgb, self._suffix = rgb, suffix
        self._written: Path | None = None

    def write(self, path: Path) -> None:
        """Write the image file, or link it to the one that was written first."""
        if self._written is None:
            path.write_bytes(encode_frame(self._rgb, self._suffix))
            self._written = path
            return
        try:
            os.link(self._written, path)
        except OSError:  # no hard links on this file system
            shutil.copyfile(self._written, path)


class Layout(Closing, ABC):
    """Writes one recording.

    Attributes:
        selects: whether only the frames that the job selects are written, not all of them.
    """

    selects = True

    def __init__(self, place: Place) -> None:
        """Begin a recording."""
        self.place = place

    @abstractmethod
    def write(self, result: RecordedFrame, picture: Picture) -> None:
        """Write a frame."""

    def part(self) -> Part:
        """Return what `finish` needs to know of the recording, when all frames are written."""
        return {}

    def close(self) -> None:
        """Finish the files of the recording."""

    @classmethod
    def finish(cls, output: Path, parts: Mapping[str, Part], names: Sequence[str]) -> FinalFiles:
        """Return the files that a data set has once: their text, by path in the output folder.

        Args:
            output: the output folder, with all recordings.
            parts: by recording, in the order of the job; each has a `split`.
            names: all classes of the job.
        """
        return {}


class Bags(Layout):
    """ROS 2 bags with the topics that the node would have published."""

    selects = False

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._bag = BagWriter(place.file('bags', f'{place.name}.mcap'))
        self._write = results.bag_sink(self._bag)

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        self._write(result)

    def close(self) -> None:
        self._bag.close()


class Masks(Layout):
    """Indexed PNG files, one for each frame of a recording, in a folder of its own."""

    selects = False

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        file = self.place.file('masks', self.place.name, f'{result.index:05}.png')
        file.write_bytes(encode_labels(result.tracked.labels))


class Overlays(Layout):
    """Videos with the masks drawn in."""

    selects = False

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        path = place.file('overlays', f'{place.name}.mp4')
        self._video = VideoWriter(path, place.rate_hz)
        self._write = results.video_sink(self._video)

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        self._write(result)

    def close(self) -> None:
        self._video.close()


class Yolo(Layout):
    """A data set for the segmentation models of YOLO, in the layout of Ultralytics.

    A line of a text file is an object: the number of its class, and one polygon in shares of the
    image's sides. The parts of a mask are joined by lines of no width.
    """

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        place = self.place
        name = f'{place.name}_{result.index:05}'
        picture.write(place.file('yolo', 'images', place.split, name + place.suffix))
        height, width = result.tracked.labels.shape
        lines = []
        for item in result.tracked.objects:
            if item.area:
                ring = one_ring(polygons(item.mask)) / (width, height)
                corners = ' '.join(f'{value:.6g}' for value in ring.reshape(-1))
                lines.append(f'{place.number(item.id)} {corners}\n')
        place.file('yolo', 'labels', place.split, f'{name}.txt').write_text(''.join(lines))

    @classmethod
    def finish(cls, output: Path, parts: Mapping[str, Part], names: Sequence[str]) -> FinalFiles:
        splits = {part['split'] for part in parts.values()}
        train = 'train' if 'train' in splits else 'val'
        about = {
            'train': f'images/{train}',
            # Ultralytics refuses a data set without validation images.
            'val': f'images/{"val" if "val" in splits else train}',
            'names': dict(enumerate(names)),
        }
        return {'yolo/data.yaml': [yaml.safe_dump(about, sort_keys=False)]}


class Coco(Layout):
    """COCO instances: one annotation file for each split, beside the frames."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._writer = CocoWriter(
            place.file(*_coco_part(place.name)),
            'polygons' if place.polygons else 'rle',
            place.names,
        )

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        name = f'{self.place.name}_{result.index:05}{self.place.suffix}'
        picture.write(self.place.file('coco', 'images', name))
        stamp_ns = result.source.header.stamp_ns
        image = CocoImage(result.index, name, result.tracked.labels.shape, stamp_ns)
        self._writer.write(image, result.tracked.objects, self.place.number)

    def close(self) -> None:
        self._writer.close()

    @classmethod
    def finish(cls, output: Path, parts: Mapping[str, Part], names: Sequence[str]) -> FinalFiles:
        files: FinalFiles = {}
        for split in sorted({part['split'] for part in parts.values()}):
            chosen = [name for name, part in parts.items() if part['split'] == split]
            paths = [output.joinpath(*_coco_part(name)) for name in chosen]
            files[f'coco/annotations_{split}.json'] = joined(paths, names)
        return files


def _coco_part(name: str) -> tuple[str, ...]:
    return 'coco', 'recordings', f'{name}.json'


class Davis(Layout):
    """The layout of DAVIS 2017: a folder of frames and one of indexed masks for each recording."""

    _PICTURES: ClassVar[tuple[str, ...]] = ('davis', 'JPEGImages', '480p')
    _MASKS: ClassVar[tuple[str, ...]] = ('davis', 'Annotations', '480p')

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._written = 0

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        # Its readers count the files, so numbers have no gaps.
        name, place = f'{self._written:05}', self.place
        picture.write(place.file(*self._PICTURES, place.name, name + place.suffix))
        labels = encode_labels(result.tracked.labels)
        place.file(*self._MASKS, place.name, f'{name}.png').write_bytes(labels)
        self._written += 1

    @classmethod
    def finish(cls, output: Path, parts: Mapping[str, Part], names: Sequence[str]) -> FinalFiles:
        return {
            f'davis/ImageSets/2017/{split}.txt': [
                f'{name}\n' for name, part in parts.items() if part['split'] == split
            ]
            for split in sorted({part['split'] for part in parts.values()})
        }


class YoutubeVos(Layout):
    """The layout of YouTube-VOS: `meta.json` lists the frames that show each object."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._seen: dict[int, list[str]] = {}

    def write(self, result: RecordedFrame, picture: Picture) -> None:
        name, place = f'{result.index:05}', self.place
        folder = ('youtube_vos', place.split)
        picture.write(place.file(*folder, 'JPEGImages', place.name, name + place.suffix))
        labels = encode_labels(result.tracked.labels)
        place.file(*folder, 'Annotations', place.name, f'{name}.png').write_bytes(labels)
        for number in np.unique(result.tracked.labels[result.tracked.labels > 0]).tolist():
            self._seen.setdefault(number, []).append(name)

    def part(self) -> Part:
        return {
            'objects': {
                str(number): {'category': self.place.classes.get(number, CLASS), 'frames': frames}
                for number, frames in sorted(self._seen.items())
            }
        }

    @classmethod
    def finish(cls, output: Path, parts: Mapping[str, Part], names: Sequence[str]) -> FinalFiles:
        files: FinalFiles = {}
        for split in sorted({part['split'] for part in parts.values()}):
            videos = {
                name: {'objects': part['objects']}
                for name, part in parts.items()
                if part['split'] == split
            }
            files[f'youtube_vos/{split}/meta.json'] = [json.dumps({'videos': videos}, indent=1)]
        return files


LAYOUTS: dict[str, type[Layout]] = {
    'bag': Bags,
    'png': Masks,
    'overlay': Overlays,
    'coco': Coco,
    'yolo': Yolo,
    'davis': Davis,
    'youtube_vos': YoutubeVos,
}
"""By the name in a job's `write`."""
