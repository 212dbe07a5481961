# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the client sends and returns: conversions between messages and Python types, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from numpy.typing import ArrayLike, NDArray
from std_msgs.msg import Header

from tam_ros.interfaces import MAX_POINTS, STATE_NAMES
from tam_ros.io.encodings import image_to_mask
from tam_ros.msg import Prompt, TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image, decode_mask, stamp_ns
from tam_ros.srv import Segment

Stamp: TypeAlias = 'Time | int'
"""Stamp of an image: `header.stamp`, or its nanoseconds. 0: the next image."""

_LEVELS = ('ok', 'warning', 'error', 'stale')  # by the number of diagnostic_msgs/DiagnosticStatus


class RequestRefusedError(RuntimeError):
    """The node refused a request; nothing was changed.

    Attributes:
        message: the node's explanation, which also says what to do.
        object_id: the object of the request; 0: none, or refused before an id was chosen.
    """

    def __init__(self, message: str, object_id: int = 0) -> None:
        """Keep the node's answer."""
        super().__init__(message)
        self.message = message
        self.object_id = object_id


class PromptRefusedError(RequestRefusedError):
    """The node refused a prompt."""


@dataclass(frozen=True)
class ObjectStatus:
    """One tracked object in one image; the fields of tam_ros/TrackedObject.

    Attributes:
        id: 1 to 65535, the value of its pixels in the label image.
        name: given with its prompt, or empty.
        state: `visible`, `occluded` or `lost`.
        score: probability that the object is in the image, 0 to 1.
        box: (x0, y0, x1, y1), pixels, x1 and y1 exclusive; None: no pixel is visible.
        centroid: (x, y), mean position of the mask's pixels; None: no pixel is visible.
        area: pixels of the mask.
        age_frames: images since its first prompt.
        age_seconds: seconds since its first prompt, by the stamps of the images.
        position: (x, y, z), metres, in the optical frame of the camera (REP 103), median of the
            depth image over the inner part of the mask; None: no depth belongs to this image.
        extent: (x, y, z), metres, side lengths of the box around these points; None as above.
        position_points: number of these points.
        stamp_ns: stamp of the image, nanoseconds.
        frame_id: coordinate frame of the image.
    """

    id: int
    name: str
    state: str
    score: float
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    area: int
    age_frames: int
    age_seconds: float
    position: tuple[float, float, float] | None
    extent: tuple[float, float, float] | None
    position_points: int
    stamp_ns: int
    frame_id: str
    _message: TrackedObject = field(repr=False, compare=False)
    _size: tuple[int, int] = field(repr=False, compare=False)

    @property
    def visible(self) -> bool:
        """Whether the object is visible in the image."""
        return self.state == 'visible'

    @cached_property
    def mask(self) -> NDArray[np.bool_] | None:
        """The object's own mask, bool [H, W], including parts that other objects overlap.

        None: the node does not publish masks (parameter `publish_masks`).
        """
        try:
            return decode_mask(self._message, *self._size)
        except ValueError:
            return None


@dataclass(frozen=True, eq=False)
class Preview:
    """What a prompt shows on one image, without being tracked; the fields of srv/Segment.

    Attributes:
        mask: bool [H, W] of the image.
        box: (x0, y0, x1, y1) of the mask, pixels, x1 and y1 exclusive; None: the mask is empty.
        predicted_iou: the model's own estimate of the intersection over union of the mask with
            the object, 0 to 1.
        stability: how little the mask depends on its threshold, 0 to 1.
        stamp_ns: stamp of the image, nanoseconds.
        frame_id: coordinate frame of the image.
    """

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int] | None
    predicted_iou: float
    stability: float
    stamp_ns: int
    frame_id: str


def preview_of(response: Segment.Response) -> Preview:
    """Convert the response of a request that succeeded."""
    box = response.box
    return Preview(
        image_to_mask(response.mask),
        (box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height)
        if box.width
        else None,
        response.predicted_iou,
        response.stability,
        stamp_ns(response.header),
        response.header.frame_id,
    )


@dataclass(frozen=True)
class StatusEntry:
    """One of the node's entries on /diagnostics.

    Attributes:
        level: `ok`, `warning`, `error` or `stale`.
        message: summary in one line.
        values: the details, by key.
    """

    level: str
    message: str
    values: dict[str, str]


def make_prompt(
    action: int,
    object_id: int,
    points: Iterable[Sequence[float]] = (),
    labels: Iterable[int] = (),
    box: Sequence[float] | None = None,
    mask: ArrayLike | None = None,
    name: str = '',
) -> Prompt:
    """Return the message of a prompt; the node checks that its fields are consistent.

    Raises:
        ValueError: the mask is not a two-dimensional array; or there are more points or labels
            than a message may have. Sent nevertheless, such a request has no answer.
    """
    prompt = Prompt(action=action, object_id=object_id, name=name)
    prompt.points = [Point(x=float(x), y=float(y)) for x, y in points]
    prompt.point_labels = [int(label) for label in labels]
    longest = max(len(prompt.points), len(prompt.point_labels))
    if longest > MAX_POINTS:
        raise ValueError(f'{longest} points or labels; the limit of a prompt is {MAX_POINTS}')
    if box is not None:
        prompt.box = [float(edge) for edge in box]
    if mask is not None:
        pixels = np.asarray(mask)
        if pixels.ndim != 2:
            raise ValueError(f'a mask has the shape [H, W], not {list(pixels.shape)}')
        shown = (pixels != 0).astype(np.uint8) * np.uint8(255)
        prompt.mask = array_to_image(shown, 'mono8', Header())
    return prompt


def to_time(stamp: Stamp) -> Time:
    """Return a stamp as a message.

    Raises:
        TypeError: the stamp is a float.
    """
    if isinstance(stamp, Time):
        return stamp
    if isinstance(stamp, float):
        # Seconds as a float would lose the nanoseconds by which the node finds the image.
        raise TypeError('a stamp is header.stamp or a whole number of nanoseconds')
    seconds, nanoseconds = divmod(int(stamp), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def object_status(item: TrackedObject, message: TrackedObjectArray) -> ObjectStatus:
    """Return an object of a result."""
    box, measured = item.box, item.position_points > 0
    x0, y0 = int(box.x_offset), int(box.y_offset)
    position, extent = item.position, item.extent
    return ObjectStatus(
        id=int(item.id),
        name=item.name,
        state=STATE_NAMES[item.state],
        score=float(item.score),
        box=(x0, y0, x0 + box.width, y0 + box.height) if box.width else None,
        centroid=(item.centroid.x, item.centroid.y) if box.width else None,
        area=int(item.area),
        age_frames=int(item.age_frames),
        age_seconds=float(item.age_seconds),
        position=(position.x, position.y, position.z) if measured else None,
        extent=(extent.x, extent.y, extent.z) if measured else None,
        position_points=int(item.position_points),
        stamp_ns=stamp_ns(message.header),
        frame_id=message.header.frame_id,
        _message=item,
        _size=(message.height, message.width),
    )


def status_entries(message: DiagnosticArray, node_name: str) -> dict[str, StatusEntry]:
    """Return a node's entries of a diagnostics message by their names without the node's.

    Args:
        message: the message, which may be about other nodes.
        node_name: full name of the node.
    """
    prefix = f'{node_name.lstrip("/")}: '
    return {
        status.name.removeprefix(prefix): StatusEntry(
            _LEVELS[int.from_bytes(status.level, 'little')],
            status.message,
            {item.key: item.value for item in status.values},
        )
        for status in message.status
        if status.name.startswith(prefix)
    }
