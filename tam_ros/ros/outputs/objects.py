# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracked objects of an image as tam_ros/TrackedObjectArray."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from std_msgs.msg import Header

from tam_ros.interfaces import OBJECTS, STATE_NUMBERS
from tam_ros.msg import TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import encode_png
from tam_ros.ros.outputs.output import Output, TrackedImage
from tam_ros.spatial import Location
from tam_ros.tracking import FrameResult

_NO_LOCATIONS: Mapping[int, Location] = {}


class Objects(Output):
    """All tracked objects, with masks if the parameter `publish_masks` is set."""

    topic = OBJECTS
    message_type = TrackedObjectArray

    def message(self, result: TrackedImage) -> TrackedObjectArray:
        """Return the objects in the order of their ids."""
        return objects_message(
            result.frame,
            result.header,
            result.names,
            self.parameters.current.publish_masks,
            result.locations,
        )


def objects_message(
    frame: FrameResult,
    header: Header,
    names: Mapping[int, str],
    with_masks: bool,
    locations: Mapping[int, Location] = _NO_LOCATIONS,
) -> TrackedObjectArray:
    """Return the objects of one image.

    Args:
        frame: result of the tracker.
        header: header of the image.
        names: names of the objects that have one, by id.
        with_masks: whether to fill `mask_png`.
        locations: locations of the objects whose depth is known, by id.
    """
    message = TrackedObjectArray(header=header)
    message.height, message.width = frame.labels.shape
    for item in sorted(frame.objects, key=lambda item: item.id):
        entry = TrackedObject(id=item.id, name=names.get(item.id, ''))
        entry.state = STATE_NUMBERS[str(item.state)]
        entry.score = float(item.score)
        entry.area = int(item.area)
        entry.age_frames = int(item.age_frames)
        entry.age_seconds = float(item.age_seconds)
        entry.centroid.x, entry.centroid.y = map(float, item.centroid or (math.nan, math.nan))
        _fill_location(entry, locations.get(item.id))
        if item.box is not None:
            x0, y0, x1, y1 = (int(edge) for edge in item.box)
            entry.box.x_offset, entry.box.y_offset = x0, y0
            entry.box.width, entry.box.height = x1 - x0, y1 - y0
            if with_masks:
                entry.mask_png = encode_png(item.crop * np.uint8(255))
        message.objects.append(entry)
    return message


def _fill_location(entry: TrackedObject, location: Location | None) -> None:
    unknown = (math.nan,) * 3
    entry.position.x, entry.position.y, entry.position.z = map(
        float, unknown if location is None else location.position
    )
    entry.extent.x, entry.extent.y, entry.extent.z = map(
        float, unknown if location is None else location.extent
    )
    entry.position_covariance = [math.nan] * 9 if location is None else location.covariance.ravel()
    entry.position_points = 0 if location is None else location.points
