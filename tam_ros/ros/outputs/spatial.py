# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Positions of objects: a point cloud, markers for RViz and Foxglove, and TF frames."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from rclpy.duration import Duration as RosDuration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from tam_ros.drawing.palette import colour
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.outputs.output import Output, TrackedImage
from tam_ros.spatial import CLOUD_TYPE, Location
from tam_ros.tracking import TrackedObject

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # optional: ~/objects contains the positions as well
    TFMessage = None

BOXES = 'boxes'
NAMES = 'names'

_OPACITY = 0.4
_MIN_SIDE_M = 0.005  # RViz warns of a box without thickness
_LETTER_HEIGHT = 0.04  # of the distance, so that names have the same size at any distance


class Frames(Output):
    """A TF frame for every object with a known position, if `publish_tf` is set."""

    topic = '/tf'
    message_type = TFMessage
    qos = QoSProfile(depth=100)
    package = 'tf2_msgs'

    def message(self, result: TrackedImage) -> Any | None:
        """Return a tf2_msgs/TFMessage, or None if there is no frame to publish."""
        if not self.parameters.current.publish_tf:
            return None
        found = transforms(result, f'{self.node_name.lstrip("/")}/object_')
        return TFMessage(transforms=found) if found else None


def transforms(result: TrackedImage, prefix: str) -> list[TransformStamped]:
    """Return a frame for every object with a known position, oriented like the camera.

    Args:
        result: result of the image, whose frame is the parent.
        prefix: prefix of the names of the frames, before the object's id.
    """
    return [
        TransformStamped(
            header=result.header,
            child_frame_id=f'{prefix}{number}',
            transform=Transform(translation=_vector(location.position)),
        )
        for number, location in sorted(result.locations.items())
    ]


class Cloud(Output):
    """The measured points of the objects, with their colour and id."""

    topic = '~/cloud'
    message_type = PointCloud2

    def message(self, result: TrackedImage) -> PointCloud2 | None:
        """Return the points as a cloud, or None without depth."""
        if result.depth is None:
            return None
        return cloud_message(result.depth.cloud(result.frame.labels, result.image), result.header)


def create_row(
    header: Header, fields: Sequence[PointField], points: NDArray[np.void]
) -> PointCloud2:
    """Return structured points [N] as a cloud of one row, like `create_cloud`."""
    size = points.dtype.itemsize
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step, cloud.row_step = size, size * len(points)
    cloud.data = array.array('B', points.tobytes())
    return cloud


try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:  # optional
    create_cloud = create_row

FIELDS = tuple(
    PointField(
        name=name,
        offset=offset,
        datatype=PointField.UINT32 if name == 'label' else PointField.FLOAT32,
        count=1,
    )
    for name, (_, offset, *_) in (CLOUD_TYPE.fields or {}).items()
)


def cloud_message(points: NDArray[np.void], header: Header) -> PointCloud2:
    """Return points, `CLOUD_TYPE` [N], as a cloud of one row.

    A cloud without points is also published: it clears the previous one from the display.
    """
    # sensor_msgs_py fails on an empty array, since a memoryview of it cannot be cast.
    create = create_cloud if len(points) else create_row
    return create(header, list(FIELDS), points)


class Markers(Output):
    """A translucent box and a name for every object with a known position.

    Markers of an object are deleted once when its position becomes unknown. A viewer that misses
    this, or receives nothing more, removes them after their lifetime, `image_timeout`.
    """

    topic = '~/markers'
    message_type = MarkerArray

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        """Create the publisher."""
        super().__init__(node, parameters)
        self._shown: set[int] = set()

    def message(self, result: TrackedImage) -> MarkerArray | None:
        """Return the new and the deleted markers, or None if there are none."""
        locations = result.locations
        message = MarkerArray()
        for gone in sorted(self._shown - set(locations)):
            for namespace in (BOXES, NAMES):
                marker = Marker(header=result.header, ns=namespace, id=gone, action=Marker.DELETE)
                message.markers.append(marker)
        lifetime = RosDuration(seconds=self.parameters.current.image_timeout).to_msg()
        for item in result.frame.objects:
            if item.id in locations:
                message.markers += _markers(result, item, locations[item.id], lifetime)
        self._shown = set(locations)
        return message if message.markers else None


def _markers(
    result: TrackedImage, item: TrackedObject, location: Location, lifetime: Duration
) -> Iterable[Marker]:
    red, green, blue = (value / 255 for value in colour(item.id))
    common = {'header': result.header, 'id': item.id, 'lifetime': lifetime}
    box = Marker(ns=BOXES, type=Marker.CUBE, **common)
    box.color = ColorRGBA(r=red, g=green, b=blue, a=_OPACITY)
    box.pose.position = _point(location.centre)
    box.scale = _vector(np.maximum(location.extent, _MIN_SIDE_M))
    name = Marker(ns=NAMES, type=Marker.TEXT_VIEW_FACING, **common)
    name.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    name.scale.z = _LETTER_HEIGHT * float(location.position[2])
    name.text = f'{item.id} {result.names.get(item.id, "")}'.rstrip() + f'\n{item.state}'
    # Above the box: y points down, and a text of two lines is centred on its position.
    top = np.array(
        [location.centre[0], location.lower[1] - 1.5 * name.scale.z, location.centre[2]]
    )
    name.pose.position = _point(top)
    return box, name


def _point(xyz: NDArray[np.float64]) -> Point:
    x, y, z = map(float, xyz)
    return Point(x=x, y=y, z=z)


def _vector(xyz: NDArray[np.float64]) -> Vector3:
    x, y, z = map(float, xyz)
    return Vector3(x=x, y=y, z=z)
