# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Overlay videos in H.264 are played by a browser, of any size and at the times of the frames."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from browser import chromium

from tam_ros.io.video_writer import VideoWriter

LOOK = """
async ([data, times]) => {
  const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
  const video = document.createElement('video');
  video.muted = true;
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(video.error.message));
    video.src = URL.createObjectURL(new Blob([bytes], {type: 'video/mp4'}));
  });
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext('2d');
  const colours = [];
  for (const time of times) {
    const sought = new Promise(resolve => { video.onseeked = resolve; });
    video.currentTime = time;
    await sought;
    context.drawImage(video, 0, 0);
    const [x, y] = [Math.floor(canvas.width / 2), Math.floor(canvas.height / 2)];
    colours.push(Array.from(context.getImageData(x, y, 1, 1).data.slice(0, 3)));
  }
  return {duration: video.duration, size: [canvas.width, canvas.height], colours};
}
"""

SECOND = 10**9


@pytest.fixture(scope='module')
def page():
    pytest.importorskip('av', reason='PyAV is not installed')
    with chromium() as browser:
        yield browser.new_page()


@pytest.mark.parametrize(
    ('size', 'shown'),
    [((240, 320), (240, 320)), ((121, 163), (122, 164)), ((1, 64), (16, 64))],
)
def test_sizes_and_times(page, tmp_path, size, shown):
    """One second of red, then one of blue, at an uneven rate."""
    path = tmp_path / 'overlay.mp4'
    stamps = [0, 0.1, 0.2, 0.3, 0.4, 0.7, 1.0, 1.1, 1.5, 1.9]
    with VideoWriter(path) as video:
        for stamp in stamps:
            colour = (200, 0, 0) if stamp < 1 else (0, 0, 200)
            video.write(np.full((*size, 3), colour, np.uint8), round(stamp * SECOND))
    data = base64.b64encode(path.read_bytes()).decode()
    seen = page.evaluate(LOOK, [data, [0.05, 0.95, 1.05, 1.7]])
    assert seen['size'] == [shown[1], shown[0]]
    assert 1.9 < seen['duration'] < 2.4
    reds, blues = seen['colours'][:2], seen['colours'][2:]
    for red, _, blue in reds:
        assert red > 150 and blue < 60
    for red, _, blue in blues:
        assert blue > 150 and red < 60
