# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Previews: ~/segment answers with the mask of a prompt, and tracks nothing."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from tam_ros import msg
from tam_ros.prompting.published_images import PublishedImage
from tam_ros.prompting.session import Answer, PromptRequest, TrackingSession
from tam_ros.ros.conversions import NANOSECONDS, array_to_image
from tam_ros.ros.inputs.prompts import read_prompt
from tam_ros.ros.inputs.source import PromptSource
from tam_ros.segmentation import Segmentation, Segmenter
from tam_ros.srv import Segment
from tam_ros.tracking import PromptError
from tam_ros.tracking.frame_result import bounding_box


class PreviewService(PromptSource):
    """Segments what a prompt shows on a recent image, in the form in which the tracker keeps it.

    That takes one run of the mask decoder between two images, and one of the image encoder if the
    image had no objects.
    """

    def start(self) -> None:
        """Offer ~/segment."""
        self.port.serve(Segment, '~/segment', self._on_segment)

    def _on_segment(self, request: Segment.Request, response: Segment.Response) -> None:
        message = request.prompt
        # Not used, so no value of them is a mistake.
        message.action, message.object_id, message.name = msg.Prompt.ADD, 0, ''
        try:
            prompt = read_prompt(message)
        except PromptError as error:
            response.success, response.message = False, str(error)
            return
        found: list[tuple[PublishedImage, Segmentation]] = []

        def segment(session: TrackingSession) -> Answer:
            try:
                found.append(self._segment(session, prompt))
            except PromptError as error:
                return Answer(False, 0, str(error))
            return Answer(True, 0, '')

        answer = self.port.call_in_tracker(segment)
        response.success, response.message = answer.success, answer.message
        if answer.success:
            fill(response, *found[0])

    def _segment(
        self, session: TrackingSession, request: PromptRequest
    ) -> tuple[PublishedImage, Segmentation]:
        """Segment in the inference thread; return the image and the mask.

        Raises:
            PromptError: the prompt or its image cannot be used.
        """
        if session.second is not None and session.second.segments:
            stamp_ns, found = session.second.segment(request.prompt(1))
            return self.port.published.at(stamp_ns), found
        image = session.encoded_image(request.stamp_ns)
        found = Segmenter.on(image).segment(request.prompt(1, stamped=False))
        # The tracker's stamps are seconds, which are not exact.
        stamp_ns = 0 if image.stamp is None else round(image.stamp * NANOSECONDS)
        return self.port.published.at(stamp_ns), found


def fill(response: Segment.Response, image: PublishedImage, found: Segmentation) -> None:
    """Fill the response of a request that succeeded.

    Args:
        response: to be filled.
        image: the image that was segmented.
        found: its only mask.
    """
    header = Header(frame_id=image.frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(image.stamp_ns, NANOSECONDS)
    mask = found.masks[0]
    response.header = header
    response.mask = array_to_image(mask.astype(np.uint8) * np.uint8(255), 'mono8', header)
    response.predicted_iou = float(found.predicted_iou[0])
    response.stability = float(found.stability[0])
    box = bounding_box(mask)
    if box is not None:
        x0, y0, x1, y1 = box
        response.box = RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)
