# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which prompt to make of a region that something else found, such as a word or a detector."""

from __future__ import annotations

from tam_ros.segmentation.segmenter import Segmentation, Segmenter
from tam_ros.tracking import Prompt


def best_prompt(
    segmenter: Segmenter,
    object_id: int,
    box: tuple[float, float, float, float],
    point: tuple[float, float],
) -> tuple[Prompt, Segmentation]:
    """Return the prompt of whose mask the model is most sure: box, point, or both together.

    A box is best where the region is the whole object, a point where the region is coarse. Which
    of them holds differs from object to object, and predicted IoU tells.

    Args:
        segmenter: has the image.
        object_id: of the prompt.
        box: x0, y0, x1, y1 around the region, pixels.
        point: x, y inside it, pixels.

    Raises:
        PromptError: they lie outside the image.
    """
    prompts = (
        Prompt.box(object_id, box),
        Prompt.points(object_id, [point], [1]),
        Prompt.box(object_id, box, [point], [1]),
    )
    judged = [(prompt, segmenter.segment(prompt)) for prompt in prompts]
    return max(judged, key=lambda one: float(one[1].predicted_iou[0]))
