# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labelled clouds: the measured points of the objects, with their colour and id."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence

from numpy import void
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from tam_ros.spatial import CLOUD_TYPE


def create_row(header: Header, fields: Sequence[PointField], points: NDArray[void]) -> PointCloud2:
    """Return structured points [N] as a cloud of one row, as sensor_msgs_py's `create_cloud`."""
    size = points.dtype.itemsize
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step, cloud.row_step = size, size * len(points)
    cloud.data = array.array('B', points.tobytes())
    return cloud


try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:  # not on every machine
    create_cloud = create_row

FIELDS = tuple(
    PointField(
        name=name,
        offset=CLOUD_TYPE.fields[name][1],
        datatype=PointField.UINT32 if name == 'label' else PointField.FLOAT32,
        count=1,
    )
    for name in CLOUD_TYPE.names
)


def cloud_message(points: NDArray[void], header: Header) -> PointCloud2:
    """Return points, `CLOUD_TYPE` [N], as a cloud of one row.

    No point at all is a cloud, too: it takes the last one off the screen.
    """
    # Python casts no view with a zero in its shape, at which sensor_msgs_py fails.
    create = create_cloud if len(points) else create_row
    return create(header, list(FIELDS), points)
