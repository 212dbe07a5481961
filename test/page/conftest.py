# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the page: a node with a stand-in tracker, the page node, and Chromium."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'ros')]

# As in ros/conftest.py, before rclpy reads them.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 59)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

CHROMIUM = '/usr/bin/chromium'


# One module each, not one session: playwright keeps an event loop running in this thread, and the
# nodes have the names of those of other tests.
@pytest.fixture(scope='module')
def chromium():
    """The system's Chromium, without a window."""
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed here')
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f'no {CHROMIUM} here: sudo apt-get install chromium')
    with api.sync_playwright() as playwright:
        quiet = ('background-networking', 'component-update', 'sync', 'gpu', 'dev-shm-usage')
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=['--no-sandbox', '--no-first-run', *(f'--disable-{name}' for name in quiet)],
        )
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    """A camera, a tracking node with a stand-in tracker, and the page node."""
    pytest.importorskip('aiohttp', reason='aiohttp is not installed here: make test installs it')
    folder = tmp_path_factory.mktemp('robot')
    os.environ.setdefault('ROS_LOG_DIR', str(folder / 'ros'))
    from page_graph import Robot

    robot = Robot(folder)
    try:
        robot.start()
        yield robot
    finally:
        robot.close()


@pytest.fixture(scope='module')
def onlooker(chromium, robot):
    """A page that stays open, so that others need not wait for subscriptions."""
    from page_graph import OpenPage

    opened = OpenPage(chromium, robot)
    yield opened
    opened.close()


@pytest.fixture
def page(chromium, robot, onlooker):
    """The page on a desktop, with nothing tracked."""
    from page_graph import OpenPage

    robot.reset()
    opened = OpenPage(chromium, robot)
    yield opened
    opened.close()
