"""Results of the tracker to messages."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.msg import TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image
from tam_ros.tracking import Frame, ObjectState

_STATES = {
    ObjectState.VISIBLE: TrackedObject.VISIBLE,
    ObjectState.OCCLUDED: TrackedObject.OCCLUDED,
    ObjectState.LOST: TrackedObject.LOST,
}
_LARGEST_MONO8 = 255


def objects_message(
    frame: Frame, header: Header, names: Mapping[int, str], with_masks: bool
) -> TrackedObjectArray:
    """Return the objects of one frame.

    Args:
        frame: what `Tracker.step` returned.
        header: of the image; taken over as it is.
        names: of the objects, by id.
        with_masks: whether to fill `mask_png`.
    """
    message = TrackedObjectArray(header=header)
    message.height, message.width = frame.labels.shape
    for item in sorted(frame.objects, key=lambda item: item.id):
        entry = TrackedObject(id=item.id, label=names.get(item.id, ''), state=_STATES[item.state])
        entry.score = float(item.score)
        entry.area = int(item.area)
        entry.age_frames = int(item.age_frames)
        entry.age_seconds = float(item.age_seconds)
        entry.centroid.x, entry.centroid.y = map(float, item.centroid or (math.nan, math.nan))
        for vector in (entry.position, entry.extent):
            vector.x = vector.y = vector.z = math.nan
        entry.position_covariance = [math.nan] * 9
        if item.box is not None:
            x0, y0, x1, y1 = (int(edge) for edge in item.box)
            entry.box.x_offset, entry.box.y_offset = x0, y0
            entry.box.width, entry.box.height = x1 - x0, y1 - y0
            if with_masks:
                entry.mask_png = array.array('B', _png(item.mask[y0:y1, x0:x1]))
        message.objects.append(entry)
    return message


def labels_message(labels: NDArray[np.uint16], header: Header) -> Image:
    """Return a label image [H, W] as `mono8`, or as `16UC1` once an id is above 255."""
    if labels.size and labels.max() > _LARGEST_MONO8:
        return array_to_image(labels, '16UC1', header)
    return array_to_image(labels.astype(np.uint8), 'mono8', header)


def decode_mask(entry: TrackedObject, height: int, width: int) -> NDArray[np.bool_]:
    """Return an object's own mask as bool [height, width], of the size of the whole image.

    Raises:
        ValueError: the object has pixels, but the message does not carry them.
    """
    mask = np.zeros((height, width), bool)
    if entry.box.width == 0:
        return mask
    if not len(entry.mask_png):
        raise ValueError('no mask in the message: set the parameter publish_masks')
    crop = cv2.imdecode(np.frombuffer(entry.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y = entry.box.x_offset, entry.box.y_offset
    mask[y : y + entry.box.height, x : x + entry.box.width] = crop != 0
    return mask


def _png(mask: NDArray[np.bool_]) -> bytes:
    _, data = cv2.imencode('.png', mask.astype(np.uint8) * np.uint8(255))
    return data.tobytes()
