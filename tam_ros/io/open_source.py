# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens a recording with the reader for its kind."""

from __future__ import annotations

from pathlib import Path

from tam_ros.io.bag_files import (
    METADATA,
    ZSTD_MAGIC,
    bag_files,
    bag_kind,
    has_metadata,
    named_like_bag,
)
from tam_ros.io.frames import FrameSource, SourceError


def open_source(
    path: str | Path, topic: str | None = None, rate_hz: float | None = None
) -> FrameSource:
    """Open a recording of any kind.

    Args:
        path: a video file, an image, which may be animated, a folder of images, a ROS 1 bag
            (`.bag`), or a ROS 2 bag (a folder, or a single `.mcap` or `.db3`). The kind is told
            by content, not by name.
        topic: image topic of a bag; not needed if there is only one.
        rate_hz: frames per second of an image folder or a video, in place of its own times.

    Raises:
        SourceError: missing, unreadable or empty.
        TopicChoiceError: there are several image topics and none was chosen.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f'{path} does not exist')
    if not (path.is_file() or path.is_dir()):
        raise SourceError(f'{path} is neither a file nor a folder, but a pipe or a device')
    if _is_bag(path):
        from tam_ros.io.bag_source import BagSource

        if rate_hz is not None:
            raise SourceError(f'{path} is a bag: its stamps give the rate')
        return BagSource(path, topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag: it has no topic {topic!r}')
    if path.is_dir():
        from tam_ros.io.image_folder import ImageFolder

        return ImageFolder(path, rate_hz)
    from tam_ros.io.animation import Animation, is_animation

    if is_animation(path):
        return Animation(path, rate_hz)
    from tam_ros.io.image_folder import ImageFolder, is_image_file

    if is_image_file(path):
        # FFmpeg would read `im%03d.png` as the sequence of that name.
        return ImageFolder(path, rate_hz)
    from tam_ros.io.video import UndecodedVideoError, VideoSource

    try:
        return VideoSource(path, rate_hz)
    except UndecodedVideoError as error:
        from tam_ros.io.av_video import AvVideo
        from tam_ros.io.video_packets import is_installed

        if not is_installed():
            raise SourceError(
                f'{error}. PyAV decodes more (`python3 -m pip install av`); or convert it: '
                f'`ffmpeg -i {path} -c:v libx264 {path.stem}_h264.mp4`'
            ) from error
        return AvVideo(path, rate_hz)


def _is_bag(path: Path) -> bool:
    """Return whether a file or folder is a bag, by its content; the suffix counts if damaged.

    Raises:
        SourceError: a compressed file.
    """
    if path.is_file():
        if bag_kind(path) is None and _is_compressed(path):
            raise SourceError(
                f'{path} is compressed: unpack it with `unzstd`, or give the folder of the bag '
                f'with its {METADATA}'
            )
        return bag_kind(path) is not None or named_like_bag(path) is not None
    if has_metadata(path):
        return True
    from tam_ros.io.image_folder import image_files

    # Results may have been written into a folder of images, and a picture into a bag's.
    bags = len(bag_files(path)) or sum(named_like_bag(file) is not None for file in path.iterdir())
    return bags > 0 and bags >= len(image_files(path))


def _is_compressed(path: Path) -> bool:
    with path.open('rb') as file:
        return file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
