# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Places of objects as RViz and Foxglove draw them, and as TF knows them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from rclpy.duration import Duration as RosDuration
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from tam_ros.drawing.palette import colour
from tam_ros.ros.result import Result
from tam_ros.spatial import Place
from tam_ros.tracking import TrackedObject

BOXES = 'boxes'
NAMES = 'names'

_OPACITY = 0.4
_THINNEST = 0.005  # metres: RViz complains of a box without thickness
_LETTERS = 0.04  # of the distance: as large in the picture wherever the object is


class Markers:
    """A translucent box and a name for every object that has a place.

    An id is deleted once, when it has none any more. Whoever does not hear of that, or nothing at
    all any more, forgets a marker after its lifetime.
    """

    def __init__(self) -> None:
        self._shown: set[int] = set()

    def message(self, result: Result, lifetime: float) -> MarkerArray:
        """Return the markers of one image.

        Args:
            result: the image.
            lifetime: seconds after which they vanish by themselves.
        """
        places = result.places
        message = MarkerArray()
        for gone in sorted(self._shown - set(places)):
            for namespace in (BOXES, NAMES):
                marker = Marker(header=result.header, ns=namespace, id=gone, action=Marker.DELETE)
                message.markers.append(marker)
        vanishes = RosDuration(seconds=lifetime).to_msg()
        for item in result.frame.objects:
            if item.id in places:
                message.markers += _markers(result, item, places[item.id], vanishes)
        self._shown = set(places)
        return message


def transforms(result: Result, prefix: str) -> list[TransformStamped]:
    """Return a frame for every object that has a place, turned like the camera's.

    Args:
        result: the image, whose frame is the parent.
        prefix: of the frames' names, before the object's id.
    """
    return [
        TransformStamped(
            header=result.header,
            child_frame_id=f'{prefix}{number}',
            transform=Transform(translation=_vector(place.position)),
        )
        for number, place in sorted(result.places.items())
    ]


def _markers(
    result: Result, item: TrackedObject, place: Place, lifetime: Duration
) -> Iterable[Marker]:
    red, green, blue = (value / 255 for value in colour(item.id))
    common = {'header': result.header, 'id': item.id, 'lifetime': lifetime}
    box = Marker(ns=BOXES, type=Marker.CUBE, **common)
    box.color = ColorRGBA(r=red, g=green, b=blue, a=_OPACITY)
    box.pose.position = _point(place.centre)
    box.scale = _vector(np.maximum(place.extent, _THINNEST))
    name = Marker(ns=NAMES, type=Marker.TEXT_VIEW_FACING, **common)
    name.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    name.scale.z = _LETTERS * float(place.position[2])
    name.text = f'{item.id} {result.names.get(item.id, "")}'.rstrip() + f'\n{item.state}'
    # Above the box: y points down. The two lines are set around their middle.
    top = np.array([place.centre[0], place.lower[1] - 1.5 * name.scale.z, place.centre[2]])
    name.pose.position = _point(top)
    return box, name


def _point(xyz: NDArray[np.float64]) -> Point:
    x, y, z = map(float, xyz)
    return Point(x=x, y=y, z=z)


def _vector(xyz: NDArray[np.float64]) -> Vector3:
    x, y, z = map(float, xyz)
    return Vector3(x=x, y=y, z=z)
