# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images from which the training clips are made: selection, hold-out, and attribution.

The data folder holds `stills/coco` (pictures with instance masks, `index.json` names the
licence and the address of each) and `training` (video frames without truth, named
`<video>_<frame>.jpg`).  `annotations` beside this file holds masks of the main objects in
those frames, made for this project: COCO run lengths by frame and object.

Shipped weights are trained on images whose licences require at most attribution; images under
share-alike licences are used only on request.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as run_lengths

ANNOTATIONS = Path(__file__).parent / 'annotations'
ATTRIBUTION_ONLY = ('Attribution License', 'No known copyright restrictions')
SHARE_ALIKE = 'Attribution-ShareAlike License'

# Held-out stills are share-alike ones: evaluating a model on an image does not affect its weights,
# and all images that are free enough for training stay available for it.
HELD_OUT_STILLS = frozenset(
    {
        '000000000071.jpg',
        '000000000294.jpg',
        '000000000308.jpg',
        '000000002149.jpg',
        '000000003553.jpg',
        '000000008690.jpg',
        '000000000257.jpg',
        '000000000491.jpg',
    }
)
HELD_OUT_VIDEOS = frozenset({'02_hummingbird', '06_pingpong', '21_biker'})
# These two are also shipped as whole videos for demonstrations; a demonstration on footage the
# model was trained on would show nothing.
UNUSED_VIDEOS = frozenset({'01_dog', '16_robotarm'})


@dataclass
class LabelledImage:
    """An image with instance masks.

    Attributes:
        rgb: uint8 [H, W, 3].
        labels: uint8 [H, W], 0 = background, 1..n = instances (n may be 0).
        name: file name, for attribution.
    """

    rgb: np.ndarray
    labels: np.ndarray
    name: str


@dataclass
class Sources:
    """Everything a clip may be made of.

    Attributes:
        stills: photographs with hand-made instance masks.
        frames: video frames whose masks are colour regions (pseudo truth: real edges, no
            meaning).
        footage: stretches of video with masks, a label being the same object in all of a stretch.
    """

    stills: list[LabelledImage] = field(default_factory=list)
    frames: list[LabelledImage] = field(default_factory=list)
    footage: list[list[LabelledImage]] = field(default_factory=list)

    def annotated(self, rng: np.random.Generator, footage: bool) -> LabelledImage:
        """Return an image with manual masks; half of them from videos if `footage`."""
        if not footage or not self.footage or rng.random() < 0.5:
            return self.stills[rng.integers(len(self.stills))]
        stretch = self.footage[rng.integers(len(self.footage))]
        return stretch[rng.integers(len(stretch))]


def read_index(data: Path) -> list[dict]:
    """Return the entries of `stills/coco/index.json`.

    Raises:
        FileNotFoundError: the message names what is missing.
    """
    path = data / 'stills' / 'coco' / 'index.json'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is missing: pass the folder that holds stills/coco and training as --data'
        )
    return json.loads(path.read_text())


def chosen_stills(data: Path, split: str, share_alike: bool = False) -> list[dict]:
    """Index entries of the stills used for `split` ('train' or 'val')."""
    entries = read_index(data)
    if split == 'val':
        return [e for e in entries if e['image'] in HELD_OUT_STILLS]
    allowed = ATTRIBUTION_ONLY + ((SHARE_ALIKE,) if share_alike else ())
    return [e for e in entries if e['image'] not in HELD_OUT_STILLS and e['licence'] in allowed]


def video_of(path: Path) -> str:
    """Name of the video a frame file belongs to."""
    return path.stem.rsplit('_', 1)[0]


def chosen_frames(data: Path, split: str) -> list[Path]:
    """Video frames used for `split` ('train' or 'val'), sorted."""
    paths = sorted((data / 'training').glob('*.jpg'))
    wanted = [p for p in paths if video_of(p) not in UNUSED_VIDEOS]
    return [p for p in wanted if (video_of(p) in HELD_OUT_VIDEOS) == (split == 'val')]


def annotated_videos(data: Path, split: str) -> dict[str, list[LabelledImage | None]]:
    """Frames of the annotated videos of a split, None where a frame was not annotated.

    A frame with an empty entry was, and shows none of the objects.
    """
    videos: dict[str, list[LabelledImage | None]] = {}
    for path in chosen_frames(data, split):
        about = _annotations(video_of(path))
        if about is None:
            continue
        entry = about['masks'].get(path.stem.rsplit('_', 1)[1])
        frames = videos.setdefault(video_of(path), [])
        if entry is None:
            frames.append(None)
            continue
        labels = np.zeros(about['size'], np.uint8)
        for number, counts in entry.items():
            mask = run_lengths.decode({'size': about['size'], 'counts': counts.encode()})
            labels[mask > 0] = int(number)
        rgb = np.asarray(Image.open(path).convert('RGB'))
        frames.append(LabelledImage(rgb, labels, path.name))
    return videos


@cache
def _annotations(video: str) -> dict | None:
    path = ANNOTATIONS / f'{video}.json'
    return json.loads(path.read_text()) if path.is_file() else None


def read_footage(data: Path, split: str) -> list[list[LabelledImage]]:
    """Stretches of the annotated videos of a split; a frame without annotation ends one."""
    stretches: list[list[LabelledImage]] = []
    for frames in annotated_videos(data, split).values():
        stretches.append([])
        for frame in frames:
            if frame is None:
                stretches.append([])
            else:
                stretches[-1].append(frame)
    return [stretch for stretch in stretches if any(image.labels.any() for image in stretch)]


def colour_regions(rgb: np.ndarray, rng: np.random.Generator, clusters: int = 7) -> np.ndarray:
    """Return a label map of compact colour regions of an image.

    k-means on colour and, weakly, position; connected parts of 1 % to 30 % of the image
    that are not ragged become labels.

    Args:
        rgb: uint8 [H, W, 3].
        rng: seeds the k-means.
        clusters: number of k-means centres.

    Returns:
        uint8 [H, W], 0 where no region qualifies.
    """
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (160, max(8, 160 * height // width)), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.bilateralFilter(small, 7, 40, 7), cv2.COLOR_RGB2LAB)
    ys, xs = np.mgrid[: small.shape[0], :160].astype(np.float32)
    features = np.dstack([lab.astype(np.float32), xs * 0.35, ys * 0.35]).reshape(-1, 5)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    # OpenCV takes None for the initial labels; its types do not say so.
    _, assigned, _ = cv2.kmeans(  # type: ignore[call-overload]
        features, clusters, None, (3, 15, 1.0), 1, cv2.KMEANS_PP_CENTERS
    )
    assigned = assigned.reshape(small.shape[:2]).astype(np.uint8)
    out = np.zeros(small.shape[:2], np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    label = 0
    for cluster in range(clusters):
        mask = cv2.morphologyEx((assigned == cluster).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for part in range(1, count):
            area = stats[part, cv2.CC_STAT_AREA] / mask.size
            box = stats[part, cv2.CC_STAT_WIDTH] * stats[part, cv2.CC_STAT_HEIGHT] / mask.size
            if 0.01 < area < 0.3 and area / box > 0.4 and label < 250:
                label += 1
                out[parts == part] = label
    return cv2.resize(out, (width, height), interpolation=cv2.INTER_NEAREST)


def load(
    data: Path, split: str = 'train', share_alike: bool = False, limit: int | None = None
) -> Sources:
    """Read the images of a split into memory (about 0.3 GB for the whole set).

    Args:
        data: the data folder.
        split: 'train' or 'val'.
        share_alike: also train on CC BY-SA images.
        limit: read at most this many stills and frames each (quick tests).

    Raises:
        FileNotFoundError: the folder holds no stills or no frames.
    """
    data = Path(data)
    sources = Sources()
    folder = data / 'stills' / 'coco'
    for entry in chosen_stills(data, split, share_alike)[:limit]:
        rgb = np.asarray(Image.open(folder / 'images' / entry['image']).convert('RGB'))
        mask_path = folder / 'masks' / (Path(entry['image']).stem + '.png')
        labels = (
            np.asarray(Image.open(mask_path)).astype(np.uint8)
            if mask_path.is_file()
            else np.zeros(rgb.shape[:2], np.uint8)
        )
        sources.stills.append(LabelledImage(rgb, labels, entry['image']))
    for number, path in enumerate(chosen_frames(data, split)[:limit]):
        rgb = np.asarray(Image.open(path).convert('RGB'))
        labels = colour_regions(rgb, np.random.default_rng(number))
        sources.frames.append(LabelledImage(rgb, labels, path.name))
    sources.footage = read_footage(data, split)[:limit]
    if not sources.stills or not sources.frames:
        raise FileNotFoundError(f'{data} has no usable stills or frames for split {split!r}')
    return sources


def attribution(data: Path, share_alike: bool = False) -> str:
    """Return a Markdown list of all images and videos that the weights are trained on."""
    lines = [
        '# Images that the weights were trained on',
        '',
        'Instance masks: COCO 2017 annotations (CC BY 4.0, cocodataset.org).',
        '',
        '| image | licence | source |',
        '| --- | --- | --- |',
    ]
    for entry in chosen_stills(Path(data), 'train', share_alike):
        lines.append(
            f'| COCO {entry["image"]} | [{entry["licence"]}]({entry["licence_url"]}) '
            f'| <{entry["flickr_url"]}> |'
        )
    videos = sorted({video_of(p) for p in chosen_frames(Path(data), 'train')})
    lines += [
        '',
        'Frames of the example videos of github.com/facebookresearch/EdgeTAM '
        '(Apache-2.0): ' + ', '.join(videos) + '. The masks of their objects were made for '
        'this project.',
        '',
    ]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Write the attribution list."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument(
        '--share-alike', action='store_true', help='list the CC BY-SA images as well'
    )
    args = parser.parse_args(argv)
    args.out.write_text(attribution(args.data, args.share_alike))


if __name__ == '__main__':
    main()
