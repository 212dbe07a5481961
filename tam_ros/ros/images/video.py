# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Video packets of a topic as images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from std_msgs.msg import Header

from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError
from tam_ros.io.video_packets import VideoDecoder, VideoPicture, packet_encoding

QUEUE_DEPTH = 60
"""Packets that may wait for the executor: none may be skipped. Two seconds of a camera."""


class VideoImage:
    """A picture of a video with the fields of `sensor_msgs/Image` that the node reads.

    Converted to RGB when the data are read, since most pictures may be dropped.
    """

    encoding = 'rgb8'
    is_bigendian = 0

    def __init__(self, header: Header, picture: VideoPicture) -> None:
        """Wrap a picture.

        Args:
            header: header of its packet.
            picture: the picture.
        """
        self.header = header
        self.height, self.width = picture.height, picture.width
        self.step = 3 * picture.width
        self._picture = picture

    @property
    def data(self) -> np.ndarray:
        """The pixels, uint8 [H * W * 3]."""
        return self._picture.rgb().reshape(-1)


class VideoPackets:
    """Decodes the packets of a topic in the thread that receives them.

    Attributes:
        problem: why packets give no image now, or empty.
    """

    def __init__(
        self, callback: Callable[[VideoImage], None], max_pixels: int = MAX_PIXELS
    ) -> None:
        """Start a stream.

        Args:
            callback: called with each image.
            max_pixels: most pixels of an image.
        """
        self.problem = ''
        self._callback = callback
        self._decoder: VideoDecoder[Header] = VideoDecoder(max_pixels)

    def receive(self, message: Any) -> None:
        """Decode a `FFMPEGPacket` or `CompressedVideo`."""
        header = getattr(message, 'header', None)
        if header is None:
            header = Header(stamp=message.timestamp, frame_id=message.frame_id)
        try:
            images = self._decoder.decode(packet_encoding(message), message.data, header)
        except ImageFormatError as error:
            self.problem = str(error)
            return
        if images:
            self.problem = ''
        elif self._decoder.waiting:
            self.problem = self.problem or 'the video has had no key frame yet'
        for tag, picture in images:
            self._callback(VideoImage(tag, picture))
