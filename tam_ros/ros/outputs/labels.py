# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images as output: the label image, raw and as PNG, and the overlay."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from tam_ros.drawing.overlay import draw_overlay
from tam_ros.interfaces import LABELS, LABELS_PNG, png_format
from tam_ros.io.encodings import fill_image
from tam_ros.ros.conversions import encode_png
from tam_ros.ros.outputs.output import Output, TrackedImage


class Labels(Output):
    """The label image: 0 is the background, other values are object ids."""

    topic = LABELS
    message_type = Image

    def message(self, result: TrackedImage) -> Image:
        """Return the label image, `mono8` or `16UC1`."""
        message = Image(header=result.header)
        fill_image(message, result.labels, result.labels_encoding)
        return message


class CompressedLabels(Output):
    """The label image as PNG, as compressed_image_transport publishes it."""

    topic = LABELS_PNG
    message_type = CompressedImage

    def message(self, result: TrackedImage) -> CompressedImage:
        """Return the label image as a PNG file."""
        return CompressedImage(
            header=result.header,
            format=png_format(result.labels_encoding),
            data=encode_png(result.labels),
        )


class Overlay(Output):
    """The image with the masks, ids and names of the objects drawn on it."""

    topic = '~/overlay'
    message_type = Image

    def message(self, result: TrackedImage) -> Image:
        """Return the drawn image, `rgb8`."""
        frame = result.frame
        drawn = draw_overlay(result.image, frame.labels, frame.objects, result.names)
        message = Image(header=result.header)
        fill_image(message, drawn, 'rgb8')
        return message
