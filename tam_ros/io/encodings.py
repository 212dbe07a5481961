# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Arrays from `sensor_msgs/Image` and `sensor_msgs/CompressedImage`, and arrays into `Image`.

Only the fields of the messages are used, so live messages (rclpy) and recorded ones (rosbags) are
read by the same code. Encoding names are those of `sensor_msgs/image_encodings.hpp`.
"""

from __future__ import annotations

import array
import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

MAX_SIDE = 16384
"""Longest accepted image side in pixels; a larger value means a corrupt message."""


class ImageFormatError(ValueError):
    """An image message is malformed, or its encoding is not for colour or grey images."""


class _Layout(NamedTuple):
    """How one encoding stores a row: `channels` samples of `dtype` per pixel, then `to_rgb`."""

    channels: int
    dtype: type
    to_rgb: Callable[[np.ndarray], np.ndarray]


def _convert(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _gray_to_rgb(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's
# first two: rggb is OpenCV's BG.
_LAYOUTS: dict[str, _Layout] = {
    'rgb8': _Layout(3, np.uint8, lambda pixels: pixels),
    'rgba8': _Layout(4, np.uint8, _convert(cv2.COLOR_RGBA2RGB)),
    'bgr8': _Layout(3, np.uint8, _convert(cv2.COLOR_BGR2RGB)),
    'bgra8': _Layout(4, np.uint8, _convert(cv2.COLOR_BGRA2RGB)),
    'mono8': _Layout(1, np.uint8, _gray_to_rgb),
    'rgb16': _Layout(3, np.uint16, lambda pixels: pixels),
    'rgba16': _Layout(4, np.uint16, _convert(cv2.COLOR_RGBA2RGB)),
    'bgr16': _Layout(3, np.uint16, _convert(cv2.COLOR_BGR2RGB)),
    'bgra16': _Layout(4, np.uint16, _convert(cv2.COLOR_BGRA2RGB)),
    'mono16': _Layout(1, np.uint16, _gray_to_rgb),
    # The untyped names carry no colour order; cv_bridge and most drivers use OpenCV's order.
    '8UC1': _Layout(1, np.uint8, _gray_to_rgb),
    '8UC3': _Layout(3, np.uint8, _convert(cv2.COLOR_BGR2RGB)),
    '8UC4': _Layout(4, np.uint8, _convert(cv2.COLOR_BGRA2RGB)),
    'bayer_rggb8': _Layout(1, np.uint8, _convert(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr8': _Layout(1, np.uint8, _convert(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg8': _Layout(1, np.uint8, _convert(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg8': _Layout(1, np.uint8, _convert(cv2.COLOR_BayerGB2RGB)),
    'bayer_rggb16': _Layout(1, np.uint16, _convert(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr16': _Layout(1, np.uint16, _convert(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg16': _Layout(1, np.uint16, _convert(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg16': _Layout(1, np.uint16, _convert(cv2.COLOR_BayerGB2RGB)),
    # yuv422 is U Y V Y, yuv422_yuy2 is Y U Y V; both were renamed in later distributions.
    'yuv422': _Layout(2, np.uint8, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'uyvy': _Layout(2, np.uint8, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'yuv422_yuy2': _Layout(2, np.uint8, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    'yuyv': _Layout(2, np.uint8, _convert(cv2.COLOR_YUV2RGB_YUY2)),
}

# Encodings of one integer or one distance per pixel.
_LABEL_TYPES: dict[str, type] = {
    'mono8': np.uint8,
    '8UC1': np.uint8,
    'mono16': np.uint16,
    '16UC1': np.uint16,
    '32SC1': np.int32,
}
_DEPTH_TYPES: dict[str, type] = {'16UC1': np.uint16, 'mono16': np.uint16, '32FC1': np.float32}

_HALF_WIDTH_CHROMA = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv')

SUPPORTED_ENCODINGS = tuple(_LAYOUTS)
"""Every encoding that `decode` accepts."""


def decode(
    encoding: str,
    height: int,
    width: int,
    step: int,
    data: Any,
    is_bigendian: bool = False,
) -> np.ndarray:
    """Decode a `sensor_msgs/Image` to uint8 RGB [height, width, 3].

    Args:
        encoding: name of the pixel layout, one of `SUPPORTED_ENCODINGS`.
        height: rows.
        width: columns.
        step: length of one row in bytes, including padding.
        data: `step * height` bytes (bytes, array.array, uint8 array, any buffer).
        is_bigendian: byte order of 16-bit samples. Their upper eight bits are kept.

    Returns:
        uint8 RGB [height, width, 3]. For unpadded `rgb8` this is a view of `data` (writeable if
        `data` is), otherwise a new array.

    Raises:
        ImageFormatError: the encoding is unknown or for measurements such as depth, the image
            is empty or too large, `step` is shorter than a row, or `data` is not
            `step * height` bytes long.
    """
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        raise ImageFormatError(_unknown_encoding(encoding))
    if height < 1 or width < 1:
        raise ImageFormatError(f'image of {width}x{height} pixels is empty')
    if height > MAX_SIDE or width > MAX_SIDE:
        raise ImageFormatError(
            f'image has {width}x{height} pixels, the limit is {MAX_SIDE} per side'
        )
    if encoding in _HALF_WIDTH_CHROMA and width % 2:
        raise ImageFormatError(
            f'{encoding} stores one colour for every two columns, but the width {width} is odd'
        )
    sample = np.dtype(layout.dtype)
    row = width * layout.channels * sample.itemsize
    if step < row:
        raise ImageFormatError(
            f'step is {step} bytes, but a row of {width} {encoding} pixels needs {row}'
        )
    raw = _as_bytes(data)
    if raw.size != step * height:
        word = 'short' if raw.size < step * height else 'long'
        raise ImageFormatError(
            f'data is too {word}: {raw.size} bytes, but {height} rows of step {step} '
            f'are {step * height}'
        )
    rows = raw.reshape(height, step)[:, :row]
    if sample.itemsize == 2:
        # Only the upper byte of every 16-bit sample is used.
        rows = np.ascontiguousarray(rows[:, (0 if is_bigendian else 1) :: 2])
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    return layout.to_rgb(np.ascontiguousarray(rows).reshape(shape))


def decode_message(message: Any) -> np.ndarray:
    """Decode a `sensor_msgs/Image` of rclpy or rosbags; see `decode`."""
    return decode(
        message.encoding,
        message.height,
        message.width,
        message.step,
        message.data,
        bool(message.is_bigendian),
    )


def decode_compressed(image_format: str, data: Any) -> np.ndarray:
    """Decode a `sensor_msgs/CompressedImage` to uint8 RGB [H, W, 3].

    Args:
        image_format: the message's `format`, such as `jpeg`, `png` or `rgb8; jpeg compressed
            bgr8`. Only used to refuse depth; the file format is detected from the data, because
            many drivers set this field wrongly.
        data: the JPEG, PNG or other file bytes.

    Raises:
        ImageFormatError: the data is empty, truncated or cannot be decoded, or it is depth.
    """
    if 'compressedDepth' in image_format:
        raise ImageFormatError(
            f'format {image_format!r} is for depth, not colour: choose the colour topic'
        )
    raw = _as_bytes(data)
    if raw.size == 0:
        raise ImageFormatError(f'compressed image ({image_format!r}) has no data')
    if raw[:2].tobytes() == b'\xff\xd8':
        _check_jpeg_end(raw.tobytes())
    try:
        bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageFormatError(
            f'compressed image ({image_format!r}) cannot be decoded: {error.err}'
        ) from error
    if bgr is None:
        raise ImageFormatError(
            f'compressed image ({image_format!r}, {raw.size} bytes) is not in a known image format'
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def image_to_rgb(message: Any) -> np.ndarray:
    """Decode a live image message to uint8 RGB [H, W, 3].

    Encodings that `decode` does not know are passed to cv_bridge if it is installed.

    Args:
        message: a `sensor_msgs/Image` or `sensor_msgs/CompressedImage` of rclpy.

    Returns:
        uint8 RGB [H, W, 3]. For unpadded `rgb8` this is a view of the message's data.

    Raises:
        ImageFormatError: see `decode` and `decode_compressed`.
    """
    if hasattr(message, 'format'):
        return decode_compressed(message.format, message.data)
    if message.encoding not in SUPPORTED_ENCODINGS and (bridge := _cv_bridge()) is not None:
        # CvBridgeError is a TypeError.
        with contextlib.suppress(ValueError, TypeError):
            rgb: np.ndarray = bridge.imgmsg_to_cv2(message, 'rgb8')
            return rgb
    return decode_message(message)


@functools.cache
def _cv_bridge() -> Any | None:
    """Return cv_bridge's converter; None where cv_bridge is not installed."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    return CvBridge()


def image_to_labels(message: Any) -> np.ndarray:
    """Return a one-channel `sensor_msgs/Image` as integers [H, W].

    Raises:
        ImageFormatError: not `mono8`, `8UC1`, `mono16`, `16UC1` or `32SC1`; or its fields
            are inconsistent.
    """
    dtype = _LABEL_TYPES.get(message.encoding)
    if dtype is None:
        raise ImageFormatError(
            f'a mask cannot have the encoding {message.encoding!r}; send {", ".join(_LABEL_TYPES)}'
        )
    return _single_channel(message, dtype, 'mask')


def image_to_mask(message: Any) -> np.ndarray:
    """Return a mask message as bool [H, W], true where a pixel is not 0.

    Raises:
        ImageFormatError: see `image_to_labels`.
    """
    mask: np.ndarray = image_to_labels(message) != 0
    return mask


def image_to_depth(message: Any) -> np.ndarray:
    """Return a depth image (REP 118) [H, W]: uint16 millimetres or float32 metres.

    Without row padding, and in the byte order of this machine, this is a view of the message's
    data.

    Raises:
        ImageFormatError: not a depth image, or its fields are inconsistent.
    """
    dtype = _DEPTH_TYPES.get(message.encoding)
    if dtype is None:
        raise ImageFormatError(
            f'depth cannot have the encoding {message.encoding!r}; '
            'send 16UC1 (millimetres) or 32FC1 (metres)'
        )
    return _single_channel(message, dtype, 'depth').astype(dtype, copy=False)


def _single_channel(message: Any, dtype: type, what: str) -> np.ndarray:
    """Return the only channel [H, W] of an image message, in the message's byte order."""
    sample = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * sample.itemsize
    if message.step < row or message.step * message.height != len(message.data):
        raise ImageFormatError(
            f'{what} of {message.width}x{message.height} {message.encoding} pixels with step '
            f'{message.step} and {len(message.data)} bytes is inconsistent'
        )
    rows = _as_bytes(message.data).reshape(message.height, message.step)
    return np.ascontiguousarray(rows[:, :row]).view(sample)


_OUTPUT_LAYOUTS = {'rgb8': (np.uint8, 3), 'mono8': (np.uint8, 1), '16UC1': (np.uint16, 1)}


def fill_image(message: Any, pixels: np.ndarray, encoding: str) -> None:
    """Set the fields of an image message, except its header.

    Args:
        message: a new `sensor_msgs/Image` of rclpy.
        pixels: uint8 [H, W, 3] for `rgb8`, uint8 [H, W] for `mono8`, uint16 [H, W] for `16UC1`.
        encoding: one of these names.

    Raises:
        ValueError: shape or type do not match the encoding.
    """
    dtype, channels = _OUTPUT_LAYOUTS[encoding]
    expected = pixels.shape[:2] if channels == 1 else (*pixels.shape[:2], channels)
    if pixels.dtype != dtype or pixels.shape != expected:
        raise ValueError(f'{pixels.dtype} {pixels.shape} is not a {encoding} image')
    pixels = np.ascontiguousarray(pixels)
    message.encoding = encoding
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    message.is_bigendian = int(sys.byteorder == 'big')
    # rclpy checks every element of any other type: at 1280x720, 0.3 s instead of 0.4 ms.
    data = array.array('B')
    data.frombytes(pixels.data.cast('B'))
    message.data = data


def _check_jpeg_end(jpeg: bytes) -> None:
    # OpenCV fills the missing part of a truncated JPEG with grey and only warns. The end marker
    # must follow the last start of scan; an embedded thumbnail has its own end marker before it.
    scan = jpeg.rfind(b'\xff\xda')
    if scan < 0 or jpeg.rfind(b'\xff\xd9') < scan:
        raise ImageFormatError(f'JPEG image is truncated: {len(jpeg)} bytes without an end marker')


def _as_bytes(data: Any) -> np.ndarray:
    """View any buffer as flat uint8 without copying; lists of integers are copied.

    In ROS 2 Lyrical, data may be a `rosidl_buffer.Buffer`, whose memory can be that of a device.
    It is copied to the host.
    """
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, BufferError, ValueError):
        pass
    if (backend := getattr(data, 'backend_type', None)) is not None:
        try:
            return np.frombuffer(data.to_bytes(), np.uint8)
        except Exception as error:  # whatever the library of the backend raises
            raise ImageFormatError(
                f'image data is in memory of the backend {backend!r} and cannot be copied to the '
                f'host: {error}'
            ) from error
    try:
        array = np.asarray(data)
        if array.size == 0:
            return np.zeros(0, np.uint8)
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
            raise ImageFormatError(f'image data must be bytes, not {array.dtype} values')
        return np.ascontiguousarray(array, np.uint8).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ImageFormatError(f'image data must be bytes, not {type(data).__name__}') from error


def _unknown_encoding(encoding: str) -> str:
    if encoding[:3] in ('16U', '16S', '32S', '32F', '64F', '8SC'):
        return f'encoding {encoding!r} is for measurements, not colour: choose the colour topic'
    return f'unknown image encoding {encoding!r}; known: {", ".join(SUPPORTED_ENCODINGS)}'
