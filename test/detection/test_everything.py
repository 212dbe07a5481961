# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everything mode as a detector: the bundled model finds what nobody pointed at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tam_ros.detection import Detector, DetectorOptions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))


def test_drawn_objects_are_found():
    image = np.full((240, 320, 3), 90, np.uint8)
    cv2.circle(image, (100, 100), 40, (220, 30, 30), -1)
    cv2.rectangle(image, (200, 100), (280, 200), (30, 220, 30), -1)
    options = DetectorOptions(min_score=0.8)
    with Detector.open('everything', points_per_side=6, threads=1, options=options) as detector:
        assert detector.info['model'] == 'efficienttam_nano'
        found = detector.detect(image)
        assert found.labels == [''] * len(found) and (np.diff(found.scores) <= 0).all()
        for wanted in ([60, 60, 140, 140], [200, 100, 281, 201]):
            best = np.abs(found.boxes - wanted).max(1).min()
            assert best < 8, found.boxes
        assert found.masks.shape == (len(found), 240, 320)
        assert len(detector.detect(np.zeros((8, 8, 3), np.uint8)).boxes[0:0]) == 0


def test_settings_are_checked_before_a_model_is_opened():
    with pytest.raises(ValueError, match='everything has no setting grid; there are model, poi'):
        Detector.open('everything', grid=8)
    with pytest.raises(ValueError, match='points_per_side is 0'):
        Detector.open('everything', points_per_side=0)
