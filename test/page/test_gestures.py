# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: what is marked on the screen is tracked, on the very image marked."""

from __future__ import annotations

import numpy as np
from page_graph import COLOURS, SIZE, band_at, bands


def test_a_click_marks_what_is_below_it_on_that_very_image(page):
    page.robot.camera.draw = bands
    page.wait('the bands', lambda: page.labels()[1] in page.robot.camera.numbers)
    page.wait('moving bands', lambda: page.count > 3)
    page.click(70, 60)
    prompt = page.wait('a prompt', lambda: page.prompts)[0]
    (point,) = prompt['points']
    np.testing.assert_allclose(point, (70, 60, 1), atol=0.51)
    colour = band_at(page.robot.camera.numbers[int(prompt['stamp'])], point[0])
    page.wait('the object', lambda: 1 in page.objects)
    labels, stamp_ns = page.labels()
    image = bands(page.robot.camera.numbers[stamp_ns])
    assert labels.shape == SIZE
    np.testing.assert_array_equal(labels == 1, (image == COLOURS[colour]).all(-1))
