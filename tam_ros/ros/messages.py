# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results of the tracker to messages."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from tam_ros.msg import TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image
from tam_ros.spatial import Place
from tam_ros.tracking import FrameResult, ObjectState

_STATES = {
    ObjectState.VISIBLE: TrackedObject.VISIBLE,
    ObjectState.OCCLUDED: TrackedObject.OCCLUDED,
    ObjectState.LOST: TrackedObject.LOST,
}
_ENCODINGS = {np.dtype(np.uint8): 'mono8', np.dtype(np.uint16): '16UC1'}

NO_PLACES: Mapping[int, Place] = {}


def objects_message(
    frame: FrameResult,
    header: Header,
    names: Mapping[int, str],
    with_masks: bool,
    places: Mapping[int, Place] = NO_PLACES,
) -> TrackedObjectArray:
    """Return the objects of one frame.

    Args:
        frame: what `Tracker.step` returned.
        header: of the image; taken over as it is.
        names: of the objects, by id.
        with_masks: whether to fill `mask_png`.
        places: of the objects, by id, as far as their depth is known.
    """
    message = TrackedObjectArray(header=header)
    message.height, message.width = frame.labels.shape
    for item in sorted(frame.objects, key=lambda item: item.id):
        entry = TrackedObject(id=item.id, name=names.get(item.id, ''), state=_STATES[item.state])
        entry.score = float(item.score)
        entry.area = int(item.area)
        entry.age_frames = int(item.age_frames)
        entry.age_seconds = float(item.age_seconds)
        entry.centroid.x, entry.centroid.y = map(float, item.centroid or (math.nan, math.nan))
        _fill_place(entry, places.get(item.id))
        if item.box is not None:
            x0, y0, x1, y1 = (int(edge) for edge in item.box)
            entry.box.x_offset, entry.box.y_offset = x0, y0
            entry.box.width, entry.box.height = x1 - x0, y1 - y0
            if with_masks:
                entry.mask_png = png(item.mask[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255))
        message.objects.append(entry)
    return message


def labels_message(pixels: NDArray[np.uint8] | NDArray[np.uint16], header: Header) -> Image:
    """Return a label image [H, W], of `Result.pixels`, as `mono8` or `16UC1`."""
    return array_to_image(pixels, _ENCODINGS[pixels.dtype], header)


def compressed_labels_message(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], header: Header
) -> CompressedImage:
    """Return the same as PNG, as compressed_image_transport publishes and reads it."""
    # The blank at the end is its own: a colour order would follow.
    form = f'{_ENCODINGS[pixels.dtype]}; png compressed '
    return CompressedImage(header=header, format=form, data=png(pixels))


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


def png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> array.array:
    """Return one-channel pixels [H, W] as a lossless PNG file, ready for a message."""
    _, data = cv2.imencode('.png', pixels)
    return array.array('B', data.tobytes())


def _fill_place(entry: TrackedObject, place: Place | None) -> None:
    nowhere = (math.nan,) * 3
    entry.position.x, entry.position.y, entry.position.z = map(
        float, nowhere if place is None else place.position
    )
    entry.extent.x, entry.extent.y, entry.extent.z = map(
        float, nowhere if place is None else place.extent
    )
    entry.position_covariance = [math.nan] * 9 if place is None else place.covariance.ravel()
    entry.position_points = 0 if place is None else place.points
