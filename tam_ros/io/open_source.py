# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens a recording with the reader for its kind."""

from __future__ import annotations

from pathlib import Path

from tam_ros.io.frames import BAG_SUFFIXES, FrameSource, SourceError


def open_source(
    path: str | Path, topic: str | None = None, rate_hz: float | None = None
) -> FrameSource:
    """Open a recording of any kind.

    Args:
        path: a video file, a folder of images, a ROS 1 bag (`.bag`), or a ROS 2 bag (a folder with
            `metadata.yaml`, a single `.mcap` or `.db3`).
        topic: image topic of a bag; not needed if there is only one.
        rate_hz: frames per second of an image folder (default 30), or in place of a video's own.

    Raises:
        SourceError: missing, unreadable or empty.
        TopicChoiceError: there are several image topics and none was chosen.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f'{path} does not exist')
    if path.suffix.lower() in BAG_SUFFIXES or (path.is_dir() and _holds_bag(path)):
        from tam_ros.io.bag_source import BagSource

        if rate_hz is not None:
            raise SourceError(f'{path} is a bag: its stamps give the rate')
        return BagSource(path, topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag: it has no topic {topic!r}')
    if path.is_dir():
        from tam_ros.io.image_folder import DEFAULT_RATE_HZ, ImageFolder

        return ImageFolder(path, DEFAULT_RATE_HZ if rate_hz is None else rate_hz)
    from tam_ros.io.video import VideoSource

    return VideoSource(path, rate_hz)


def _holds_bag(folder: Path) -> bool:
    """Return whether a folder is a ROS 2 bag; its `metadata.yaml` may be missing."""
    return any(
        file.name == 'metadata.yaml' or file.suffix in BAG_SUFFIXES for file in folder.iterdir()
    )
