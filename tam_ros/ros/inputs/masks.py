# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Label images of segmentation tools: ~/mask_prompt."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image

from tam_ros.io.encodings import image_to_labels
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.soft_masks import has_soft_edge
from tam_ros.prompting.session import Action, PromptRequest
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.inputs.source import PromptSource

_THRESHOLD = 'a mask with a soft edge must be cut at a threshold before it is sent'


class MaskTopic(PromptSource):
    """Adds an object for each value above 0 of a label image."""

    def start(self) -> None:
        """Subscribe to ~/mask_prompt."""
        self.port.subscribe(Image, '~/mask_prompt', self._on_mask_prompt)

    def _on_mask_prompt(self, message: Image) -> None:
        if reason := self.port.reason_not_tracking:
            self.port.refused(f'mask prompt refused: {reason}')
            return
        try:
            labels = image_to_labels(message, self.port.parameters.current.max_pixels)
        except ImageFormatError as error:
            self.port.refused(f'mask prompt refused: {error}')
            return
        values = np.unique(labels[labels > 0])
        limit = self.port.parameters.current.max_objects
        if not len(values):
            self.port.refused('mask prompt refused: no pixel is above 0')
            return
        if len(values) > limit:
            self.port.refused(
                f'mask prompt refused: it has {len(values)} values, one for each object, more '
                f'than max_objects, {limit}; {_THRESHOLD}'
            )
            return
        if has_soft_edge(labels, values.tolist()):
            self.port.refused(
                f'mask prompt refused: of its {len(values)} values, all but the highest are only '
                f'along edges; {_THRESHOLD}'
            )
            return
        stamp = stamp_ns(message.header)
        for value in values:
            answer = self.port.submit(
                PromptRequest(Action.ADD, stamp_ns=stamp, mask=labels == value)
            )
            if answer.success:
                self.port.log(f'~/mask_prompt: object {answer.object_id} is added (value {value})')
            else:
                self.port.refused(f'mask prompt, value {value} refused: {answer.message}')
