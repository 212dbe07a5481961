# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Region similarity J, the Jaccard index of two masks, as the DAVIS challenge counts it.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, section 5; details as in the code of record, davis2017-evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

VOID = 255
"""Label in a truth image of pixels that count for nobody."""


def region_similarity(
    truth: np.ndarray, prediction: np.ndarray, void: np.ndarray | None = None
) -> float:
    """Return J of one object in one frame: intersection over union, 1 where both are empty.

    Args:
        truth: bool [H, W].
        prediction: bool [H, W].
        void: bool [H, W], pixels to leave out, or None.

    Raises:
        ValueError: the masks differ in shape.
    """
    truth, prediction = counted(truth, prediction, void)
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def counted(
    truth: np.ndarray, prediction: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both masks as bool [H, W] without the pixels of `void`.

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
        truth: integer [H, W], 0 background, object ids, `VOID` where nothing counts.
        prediction: integer [H, W], 0 background, object ids. A label that is not in `object_ids`
            belongs to no object, and one of `object_ids` that is absent is an empty mask.
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
    """Return the mean over objects of each object's mean over the frames, as DAVIS averages.

    Raises:
        ValueError: no frame, or no object in the first one.
    """
    if not frames or not frames[0]:
        raise ValueError('no frame or no object to average over')
    per_object = [np.mean([frame[object_id] for frame in frames]) for object_id in frames[0]]
    return float(np.mean(per_object))
