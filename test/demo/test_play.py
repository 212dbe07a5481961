# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`make play` with the bundled model: a fish that is clicked in a browser is followed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros.catalogue import engines_dir
from tam_ros.demo import play
from tam_ros.demo.camera import webcam_shots
from tam_ros.io.frames import SourceError

CHROMIUM = '/usr/bin/chromium'
ROOT = Path(__file__).resolve().parents[2]


def fish(jpeg):
    """Return a point in the middle of the orange of the fish; None: it is not in the picture."""
    blue, green, red = cv2.split(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    orange = ((red > 190) & (green > 80) & (green < 170) & (blue < 80)).astype(np.uint8)
    count, labels, found, _ = cv2.connectedComponentsWithStats(orange)
    if count < 2 or found[1:, cv2.CC_STAT_AREA].max() < 400:
        return None
    largest = labels == 1 + int(found[1:, cv2.CC_STAT_AREA].argmax())
    depth = cv2.distanceTransform(largest.astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


@pytest.mark.slow
@pytest.mark.skipif(
    not (engines_dir() / 'efficienttam_nano').is_dir(), reason='no trained weights are bundled'
)
def test_a_fish_that_is_clicked_is_followed(tmp_path):
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed here')
    pytest.importorskip('aiohttp', reason='aiohttp is not installed here: make test installs it')
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f'no {CHROMIUM} here: sudo apt-get install chromium')
    log = tmp_path / 'play.log'
    path = f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    with log.open('wb') as output:
        process = subprocess.Popen(
            [sys.executable, '-m', 'tam_ros.demo.play', '--port', '0'],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': path},
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r'page: open (\S+)', log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu']
            )
            click_and_follow(browser.new_page(), found[1])
            browser.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert process.returncode == 0 and 'play: ended' in log.read_text()


def click_and_follow(page, address):
    from tam_ros.page.protocol import unpack_frame

    frames = []

    def listen(socket):
        socket.on('framereceived', lambda data: frames.append(data))

    page.on('websocket', listen)
    page.goto(address)

    def wait(condition):
        deadline = time.monotonic() + 90
        while not (value := condition()):
            assert time.monotonic() < deadline, page.inner_text('body')
            page.wait_for_timeout(50)
        return value

    def newest(need_object=False):
        """Return the newest tracked picture that shows the fish."""
        for data in reversed([one for one in frames if isinstance(one, bytes)]):
            header, jpeg, png = unpack_frame(data)
            if jpeg and png and (header['objects'] or not need_object):
                place = fish(jpeg)
                return place and (header, place, png)
        return None

    wait(newest)
    # The picture stands still, so that the fish is where it is clicked.
    page.keyboard.press('Space')
    page.wait_for_timeout(500)
    _, (x, y), _ = wait(newest)
    stage = page.locator('#view').bounding_box()
    scale = min(stage['width'] / 640, stage['height'] / 360)
    page.mouse.click(
        stage['x'] + stage['width'] / 2 + (x + 0.5 - 320) * scale,
        stage['y'] + stage['height'] / 2 + (y + 0.5 - 180) * scale,
    )
    page.keyboard.press('Space')

    def followed():
        found = newest(need_object=True)
        if not found:
            return False
        _, (x, y), png = found
        labels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        return labels[y, x] == 1 and 0.01 < (labels == 1).mean() < 0.3

    for _ in range(5):
        wait(followed)
        frames.clear()


def test_a_webcam_that_is_not_there():
    with pytest.raises(SourceError, match='no image from camera 99'):
        next(webcam_shots(99))


def test_what_cannot_be_played(capsys):
    assert play.main(['--video', 'nosuch.mp4']) == 2
    assert capsys.readouterr().err.startswith('play: ')
    assert play.main(['--model', 'no_such_model']) == 2
