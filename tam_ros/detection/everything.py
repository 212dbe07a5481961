# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everything mode as a detector: the tracker's own model, asked at a grid of points.

It needs no weights of its own, and does not name what it finds.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.detection.detections import Detections
from tam_ros.detection.detector import Detector, DetectorRequest
from tam_ros.segmentation import EverythingOptions, Segmenter
from tam_ros.tracking.network_input import check_image

MODEL = 'efficienttam_nano'  # bundled
UNNAMED = ('',)


def open_detector(request: DetectorRequest) -> Detector:
    """Load the model of a tracker; see `Detector.open`.

    The settings are `model`, its name in the catalogue, and those of `EverythingOptions`.
    """
    settings = dict(request.settings)
    model = settings.pop('model', MODEL)
    known = [field.name for field in fields(EverythingOptions)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(
            f'{request.name} has no setting {", ".join(unknown)}; there are model, '
            f'{", ".join(known)}'
        )
    grid = EverythingOptions.of(model, **settings)
    segmenter = Segmenter.open(
        model,
        request.weights,
        request.runtime,
        threads=request.threads,
        precision=request.precision,
        engines=request.engines,
    )
    return EverythingDetector(segmenter, grid, request.options.min_score)


class EverythingDetector(Detector):
    """Masks of whatever a grid of clicks finds; the score is the predicted IoU."""

    name = 'everything'
    class_names = UNNAMED

    def __init__(
        self, segmenter: Segmenter, grid: EverythingOptions, min_score: float = 0.0
    ) -> None:
        """Use a segmenter, which is closed with the detector."""
        self.info = {'model': segmenter.model, 'weights': segmenter.weights, **segmenter.info}
        self._segmenter = segmenter
        self._grid = grid
        self._min_score = min_score

    def detect(self, image: NDArray[np.uint8], tracked: Any = None) -> Detections:
        """Find the objects in an image; see `Detector.detect`."""
        check_image(image)
        self._segmenter.set_image(image)
        found = [
            one
            for one in self._segmenter.everything(self._grid)
            if one.predicted_iou > self._min_score
        ]
        if not found:
            return Detections.none(UNNAMED, image.shape[:2])
        found.sort(key=lambda one: -one.predicted_iou)
        return Detections(
            np.array([one.box for one in found], np.float32),
            np.array([one.predicted_iou for one in found], np.float32),
            np.zeros(len(found), np.int64),
            UNNAMED,
            np.stack([one.mask for one in found]),
        )

    def close(self) -> None:
        """Release the memory of the device."""
        self._segmenter.close()
