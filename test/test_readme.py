# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The example of `Tracker` in README.md; that of the client is tested in ros/test_client.py."""

import numpy as np
import pytest
from readme import run_example

from tam_ros import catalogue
from tam_ros.io.video_writer import VideoWriter


@pytest.mark.skipif(
    not (catalogue.engines_dir() / 'efficienttam_nano').is_dir(),
    reason='no trained weights are bundled',
)
def test_the_example_of_the_tracker(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = np.full((480, 640, 3), 40, np.uint8)
    image[200:280, 280:360] = (220, 60, 40)
    with VideoWriter(tmp_path / 'street.mp4', 10) as writer:
        for _ in range(2):
            writer.write(image)
    mask = run_example('Tracker.open')['mask']
    assert mask.shape == (480, 640)
    assert mask[210:270, 290:350].mean() > 0.9 and mask.mean() < 0.05
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith('1 visible') for line in lines)
