# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Region similarity J, the Jaccard index of two masks, as in the DAVIS challenge.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, section 5; details follow the reference code, davis2017-evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

VOID = 255
"""Label of pixels in a truth image that are ignored."""


def region_similarity(
    truth: np.ndarray, prediction: np.ndarray, void: np.ndarray | None = None
) -> float:
    """Return J of one object in one frame: intersection over union, 1 where both are empty.

    Args:
        truth: bool [H, W].
        prediction: bool [H, W].
        void: bool [H, W], pixels to ignore, or None.

    Raises:
        ValueError: the masks differ in shape.
    """
    truth, prediction = without_void(truth, prediction, void)
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def without_void(
    truth: np.ndarray, prediction: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both masks as bool [H, W], false at the pixels of `void`.

    Raises:
        ValueError: the masks differ in shape.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f'masks of {truth.shape} and {prediction.shape} cannot be compared')
    truth, prediction = truth.astype(bool), prediction.astype(bool)
    if void is not None:
        truth, prediction = truth & ~void, prediction & ~void
    return truth, prediction


def label_similarity(
    truth: np.ndarray, prediction: np.ndarray, object_ids: Iterable[int]
) -> dict[int, float]:
    """Return J of every object in one frame of label images.

    Args:
        truth: integer [H, W]: 0 is background, `VOID` is ignored, other values are object ids.
        prediction: integer [H, W]: 0 is background, other values are object ids. Labels that are
            not in `object_ids` are ignored.
        object_ids: the ids to compare.

    Raises:
        ValueError: the images differ in shape.
    """
    void = truth == VOID
    return {
        object_id: region_similarity(truth == object_id, prediction == object_id, void)
        for object_id in object_ids
    }


def mean_over_objects(frames: Sequence[dict[int, float]]) -> float:
    """Return the mean over the objects of the mean over the frames, as in DAVIS.

    Raises:
        ValueError: no frame, or no object in the first frame.
    """
    if not frames or not frames[0]:
        raise ValueError('no frame or no object to average over')
    per_object = [np.mean([frame[object_id] for frame in frames]) for object_id in frames[0]]
    return float(np.mean(per_object))
