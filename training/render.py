# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Render training clips: seeded, with the truth of every pixel, into numpy shards.

    python -m training.render --data DIR --out training/out/clips --clips 2000

A clip is one of: a photograph whose annotated objects move with it; colour regions of a video
frame, likewise; things (cut-outs, drawn, jointed) moving over a picture or a texture; or a stretch
of annotated video, with things in front of it or not.  All get camera motion, occluders,
look-alikes, brightness drift, blur, noise and compression.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from training import drawing, motion, scene
from training.sources import LabelledImage, Sources, load

MAX_OBJECTS = 5


def _degrade(rng: np.random.Generator, image: np.ndarray, look: dict, frame: int) -> np.ndarray:
    """What a camera does to a frame: exposure, colour cast, blur, noise, compression."""
    image = image * look['gain'][frame] * look['cast'] + look['bias'][frame]
    length = look['motion_blur']
    if length > 1:
        kernel = np.zeros((length, length), np.float32)
        middle = (length - 1) / 2
        dx, dy = np.cos(look['blur_angle']) * middle, np.sin(look['blur_angle']) * middle
        cv2.line(
            kernel,
            (round(middle - dx), round(middle - dy)),
            (round(middle + dx), round(middle + dy)),
            1.0,
        )
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if look['blur'] > 0:
        image = cv2.GaussianBlur(image, (0, 0), look['blur'])
    if look['noise'] > 0:
        cells = rng.integers(-127, 128, image.shape, dtype=np.int8)
        image = image + cells.astype(np.float32) * (look['noise'] / 73.0)
    image = image.clip(0, 255).astype(np.uint8)
    if look['quality']:
        _, code = cv2.imencode(
            '.jpg', image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, look['quality'])
        )
        decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
        assert decoded is not None
        image = decoded[..., ::-1]
    return image


def _look(rng: np.random.Generator, frames: int) -> dict:
    """The degradations of one clip."""
    return {
        'gain': rng.uniform(0.75, 1.2) * (1 + motion.curve(rng, frames, 0.1, 0.04)),
        'bias': rng.normal(0, 6) + motion.curve(rng, frames, 6, 3),
        'cast': (1 + rng.normal(0, 0.04, 3)).astype(np.float32),
        'motion_blur': int(rng.choice((0, 3, 5, 9), p=(0.75, 0.1, 0.1, 0.05))),
        'blur_angle': rng.uniform(0, np.pi),
        'blur': float(rng.choice((0, 0.6, 1.2, 2.0), p=(0.6, 0.2, 0.14, 0.06))),
        'noise': float(rng.choice((0, 3, 8), p=(0.6, 0.28, 0.12))),
        'quality': int(rng.choice((0, int(rng.integers(25, 92))), p=(0.55, 0.45))),
    }


def _footage(
    rng: np.random.Generator, sources: Sources, frames: int, size: int
) -> list[scene.Background]:
    """Choose a stretch of annotated video: a background for each frame.

    The annotated frames lie half a second apart, so each is shown for one to three frames, the
    camera moving on; a stretch that is too short goes back the way it came.
    """
    stretch = sources.footage[rng.integers(len(sources.footage))]
    hold = int(rng.choice((1, 2, 3), p=(0.4, 0.4, 0.2)))
    needed = -(-frames // hold)
    start = int(rng.integers(max(1, len(stretch) - needed + 1)))
    there = np.arange(start, min(start + needed, len(stretch)))
    round_trip = np.concatenate((there, there[-2:0:-1])) if len(there) > 2 else there
    order = np.repeat(np.resize(round_trip, needed), hold)[:frames]
    if rng.random() < 0.5:
        order = order[::-1]
    first = scene.random_background(rng, stretch[order[0]], size, 3, frames, 0.0)
    return [replace(first, rgb=stretch[i].rgb, labels=stretch[i].labels) for i in order]


def _compose(
    rng: np.random.Generator,
    sources: Sources,
    frames: int,
    size: int,
    absence: float,
    footage: float,
) -> tuple[list[scene.Background], list[scene.Thing]]:
    """Choose what a clip shows: a background for each frame, and what moves before it."""
    real_video = footage > 0 and rng.random() < footage
    kind = 4 if real_video else rng.choice(4, p=(0.28, 0.08, 0.42, 0.22))
    elastic = float(rng.choice((0, 1, 3, 7))) * size / 384
    backs: list[scene.Background] = []
    if kind == 4:
        backs = _footage(rng, sources, frames, size)
        back = backs[0]
        count = int(rng.choice(3, p=(0.65, 0.25, 0.1)))
    elif kind == 0:  # a photograph with its annotated objects
        image = sources.annotated(rng, footage > 0)
        back = scene.random_background(rng, image, size, int(rng.integers(1, 4)), frames, elastic)
        count = int(rng.choice(3, p=(0.5, 0.35, 0.15)))
    elif kind == 1:  # a video frame with colour regions
        image = sources.frames[rng.integers(len(sources.frames))]
        back = scene.random_background(rng, image, size, int(rng.integers(1, 4)), frames, elastic)
        count = int(rng.choice(3, p=(0.5, 0.35, 0.15)))
    elif kind == 2:  # objects over a real image
        pool = sources.frames if rng.random() < 0.75 else sources.stills
        image = pool[rng.integers(len(pool))]
        back = scene.random_background(rng, image, size, 0, frames, elastic * 0.5)
        count = int(rng.integers(1, 5))
    else:  # everything drawn
        wall = drawing.texture(rng, 256)
        if rng.random() < 0.5:  # patches: clutter that stays where it is
            for _ in range(int(rng.integers(2, 12))):
                patch = cv2.resize(drawing.silhouette(rng), (int(rng.integers(16, 110)),) * 2)
                y, x = (int(rng.integers(0, 256 - n)) for n in patch.shape)
                window = wall[y : y + patch.shape[0], x : x + patch.shape[1]]
                fill = cv2.resize(drawing.any_texture(rng, sources), patch.shape[::-1])
                window[patch > 127] = fill[patch > 127]
        image = LabelledImage(wall, np.zeros((256, 256), np.uint8), 'drawn')
        back = scene.random_background(rng, image, size, 0, frames, 0.0)
        count = int(rng.integers(1, 5))
    if not back.chosen:
        count = max(count, 1)
    count = min(count, MAX_OBJECTS - len(back.chosen))
    real = (0.3, 0.3, 0.5, 0.12, 0.6)[kind]
    things = [
        scene.random_thing(
            rng, sources, frames, size, real=real, absence=absence, footage=footage > 0
        )
        for _ in range(count)
    ]
    if things and rng.random() < 0.2:  # a look-alike behind or in front
        copy = scene.twin(rng, things[int(rng.integers(len(things)))], size)
        things.insert(int(rng.integers(len(things) + 1)), copy)
    if rng.random() < 0.25:  # something unlabelled passes in front
        things.append(scene.random_thing(rng, sources, frames, size, real=0.2, labelled=False))
    return backs or [back] * frames, things


def render_clip(
    seed: int,
    sources: Sources,
    frames: int = 10,
    size: int = 384,
    absence: float = 0.24,
    footage: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Render one clip.

    Args:
        seed: the clip is a function of the seed and the sources alone.
        sources: images to use.
        frames: length of the clip.
        size: side of the square frames in pixels.
        absence: probability of each object leaving the image, or disappearing, for a while.
        footage: probability of a stretch of annotated video; above 0 its objects also serve as
            cut-outs.

    Returns:
        Frames, uint8 RGB [frames, size, size, 3], and labels of the visible pixels, uint8
        [frames, size, size] (0 = background, up to 5 objects).
    """
    for attempt in range(20):
        rng = np.random.default_rng((seed, attempt))
        backs, things = _compose(rng, sources, frames, size, absence, footage)
        camera = motion.camera_path(rng, frames, size)
        look = _look(rng, frames)
        images = np.empty((frames, size, size, 3), np.uint8)
        labels = np.empty((frames, size, size), np.uint8)
        image, labels[0] = scene.paint(backs[0], things, camera, 0, size)
        if np.bincount(labels[0].ravel(), minlength=2)[1:].max() < 0.004 * size * size:
            continue  # nothing worth prompting in the first frame
        images[0] = _degrade(rng, image, look, 0)
        for frame in range(1, frames):
            image, labels[frame] = scene.paint(backs[frame], things, camera, frame, size)
            images[frame] = _degrade(rng, image, look, frame)
        return images, labels
    raise RuntimeError(f'seed {seed}: no clip with a visible object in 20 attempts')


def write_shard(
    path: Path,
    first_seed: int,
    clips: int,
    sources: Sources,
    frames: int,
    size: int,
    absence: float = 0.24,
    footage: float = 0.0,
) -> None:
    """Render `clips` clips into two .npy files beside `path`, named so when complete."""
    images_path, labels_path = path.with_suffix('.images.npy'), path.with_suffix('.labels.npy')
    if images_path.exists() and labels_path.exists():
        return
    partial = [p.with_suffix('.partial') for p in (images_path, labels_path)]
    images = np.lib.format.open_memmap(partial[0], 'w+', np.uint8, (clips, frames, size, size, 3))
    labels = np.lib.format.open_memmap(partial[1], 'w+', np.uint8, (clips, frames, size, size))
    for number in range(clips):
        images[number], labels[number] = render_clip(
            first_seed + number, sources, frames, size, absence, footage
        )
    images.flush()
    labels.flush()
    os.replace(partial[0], images_path)
    os.replace(partial[1], labels_path)  # last: a shard with labels is complete


def main(argv: list[str] | None = None) -> None:
    """Render shards of clips."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--out', type=Path, default=Path('training/out/clips'))
    parser.add_argument('--split', choices=('train', 'val'), default='train')
    parser.add_argument('--share-alike', action='store_true', help='use CC BY-SA images as well')
    parser.add_argument('--clips', type=int, default=2000)
    parser.add_argument('--frames', type=int, default=10)
    parser.add_argument('--size', type=int, default=384)
    parser.add_argument(
        '--absence',
        type=float,
        default=0.24,
        help='probability of each thing leaving or vanishing for a while',
    )
    parser.add_argument(
        '--footage', type=float, default=0.0, help='probability of a stretch of annotated video'
    )
    parser.add_argument('--shard', type=int, default=50, help='clips in one file')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--workers', type=int, default=1, help='number of processes that share the work'
    )
    parser.add_argument('--worker', type=int, default=0, help='which of them this one is')
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    sources = load(args.data, args.split, args.share_alike)
    base = args.seed * 10_000_000 + (5_000_000 if args.split == 'val' else 0)
    start, done = time.time(), 0
    for shard in range(args.worker, (args.clips + args.shard - 1) // args.shard, args.workers):
        count = min(args.shard, args.clips - shard * args.shard)
        write_shard(
            args.out / f'{args.split}_{args.seed}_{shard:05d}',
            base + shard * args.shard,
            count,
            sources,
            args.frames,
            args.size,
            args.absence,
            args.footage,
        )
        done += count
        print(f'{done} clips, {(time.time() - start) / done * 1e3:.0f} ms each', flush=True)


if __name__ == '__main__':
    main()
