# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of failures: drawing, and the choice of frames."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from training.evaluate import Clip
from training.failures import ScoredFrame, scored_frames, worst


class StaticTracker:
    """A tracker that returns the prompted masks on every frame."""

    def reset(self) -> None:
        self.labels = None

    def step(self, image, stamp, prompts):
        if prompts:
            self.labels = np.zeros(image.shape[:2], np.uint16)
            for prompt in prompts:
                self.labels[prompt.mask_image] = prompt.object_id
        objects = [
            SimpleNamespace(id=number, score=0.9, state='visible')
            for number in np.unique(self.labels).tolist()
            if number
        ]
        return SimpleNamespace(labels=self.labels, objects=objects)


def test_each_object_on_each_frame_where_it_is_visible():
    images = np.full((3, 60, 80, 3), 100, np.uint8)
    labels = np.zeros((3, 60, 80), np.uint8)
    labels[:, 10:30, 10:30] = 1
    labels[0, 35:55, 40:60] = 2
    labels[1, 35:55, 50:70] = 2
    found = list(scored_frames(StaticTracker(), Clip('made up', images, labels), 'mask'))
    assert [round(one.j, 3) for one in found] == [1.0, 1.0, 1.0, 0.333, 1.0]
    assert found[3].caption == 'made up, from a mask, image 1: J 0.33'
    moved = found[3].picture
    assert (moved[45, 70 - 1] == 255).all(), 'the true outline is white'
    assert (moved[40, 42] != 100).any(), 'the mask is coloured'
    assert (moved[20, 20] == 100).all(), 'the other object is left alone'


@pytest.mark.parametrize(('count', 'expected'), [(1, 0), (9, 0), (20, 2), (95, 9)])
def test_tenth_percentile(count, expected):
    shuffled = np.random.default_rng(0).permutation(count)
    assert worst([ScoredFrame(float(j), None, '') for j in shuffled]).j == expected
