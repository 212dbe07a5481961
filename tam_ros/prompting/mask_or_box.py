# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts from the results of a detector in the same process."""

from __future__ import annotations

from dataclasses import replace

from tam_ros.detection import Detections
from tam_ros.prompting.detection_filter import Detection
from tam_ros.prompting.session import PromptRequest
from tam_ros.segmentation import Segmenter
from tam_ros.tracking import EncodedImage, PromptError


def as_detections(found: Detections) -> list[Detection]:
    """Return detections as `detection_filter.select` takes them."""
    masks = [None] * len(found) if found.masks is None else list(found.masks)
    rows = zip(found.boxes.tolist(), found.labels, found.scores.tolist(), masks, strict=True)
    return [
        Detection((box[0], box[1], box[2], box[3]), label, score, mask)
        for box, label, score, mask in rows
    ]


def mask_or_box(request: PromptRequest, image: EncodedImage) -> PromptRequest:
    """Return a request with either its mask or its box: the one that suits the tracker better.

    The tracker's own model predicts a mask from each of them, and how good it is (predicted IoU).
    A mask that the model would draw in the same way is the better prompt, since it says exactly
    what is meant. One that it would not is probably wrong, or coarser than what the model draws
    in the box.

    Args:
        request: from `Detections.requests`.
        image: the image of the detection, from `Tracker.encoded_image`.
    """
    if request.mask is None or request.box is None:
        return request
    with_box, with_mask = replace(request, mask=None), replace(request, box=None)
    if not request.mask.any():
        return with_box
    segmenter = Segmenter.on(image)
    try:
        by_box = segmenter.predict(box=request.box, candidates=1).predicted_iou[0]
        by_mask = segmenter.predict(mask=request.mask, candidates=1).predicted_iou[0]
    except PromptError:  # the tracker will say the same of the box
        return with_box
    return with_mask if by_mask > by_box else with_box
