# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A robot for the tests of the page: processes, a camera with known truth, and an open page."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
from fakes.colour_tracker import picture
from ros_graph import NodeProcess

from tam_ros.page.protocol import unpack_frame

TESTS = Path(__file__).resolve().parents[1]
SIZE = (120, 160)  # rows, columns
BAND = 20  # columns
COLOURS = np.array(
    [
        (230, 30, 30),
        (30, 200, 60),
        (40, 70, 230),
        (230, 210, 40),
        (200, 60, 220),
        (40, 210, 220),
        (250, 250, 250),
        (10, 10, 10),
    ],
    np.uint8,
)
PERIOD_S = 0.1


def bands(number):
    """Draw image `number`: coloured bands, each of which moves by its own width per image.

    So a click that is applied to another image than the one that was clicked marks another colour.
    """
    index = (np.arange(SIZE[1]) // BAND + number) % len(COLOURS)
    return np.broadcast_to(COLOURS[index], (*SIZE, 3)).copy()


def band_at(number, x):
    """Return the index of the colour at column x of image `number`."""
    return (int(x + 0.5) // BAND + number) % len(COLOURS)


def squares(number=0):
    """Draw three squares that stand still."""
    return picture(SIZE, red=(30, 40), green=(90, 40), blue=(60, 90))


class Camera:
    """Publishes images from a thread of its own, and remembers which had which stamp."""

    def __init__(self, name='/camera/image'):
        import rclpy
        from sensor_msgs.msg import Image

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node('test_camera', context=self._context)
        self._publisher = self.node.create_publisher(Image, name, 5)
        self.draw = squares
        self.numbers = {}
        self.period_s = PERIOD_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        from builtin_interfaces.msg import Time
        from std_msgs.msg import Header

        from tam_ros.ros.conversions import array_to_image

        for number in itertools.count():
            stamp_ns = time.time_ns()
            self.numbers[stamp_ns] = number
            seconds, rest = divmod(stamp_ns, 10**9)
            header = Header(stamp=Time(sec=seconds, nanosec=rest), frame_id='camera')
            self._publisher.publish(array_to_image(self.draw(number), 'rgb8', header))
            if self._ended.wait(self.period_s):
                return

    def subscribers(self):
        """How many subscriptions there are to the images."""
        return self._publisher.get_subscription_count()

    def close(self):
        self._ended.set()
        self._thread.join()
        self.node.destroy_node()
        self._context.try_shutdown()


class Robot:
    """All processes. `track` and `page` can be ended and started again."""

    def __init__(self, folder):
        self._folder = folder
        self._logs = itertools.count()
        self.camera = None
        self.tracks = {}
        self.page = self.address = self.client = None

    def start(self):
        from tam_ros.client import TamClient

        self.camera = Camera()
        self.start_tracking()
        self.page, self.address = self.start_page()
        self.client = TamClient(timeout=30.0)
        self.client.wait_until_active(timeout=60)

    def start_tracking(self, *arguments, namespace=''):
        path = f'{TESTS}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
        self.tracks[namespace] = self.run(
            str(TESTS / 'ros' / 'fake_track_node.py'),
            *('--ros-args', '-r', 'image:=/camera/image', *arguments),
            *(('-r', f'__ns:={namespace}') if namespace else ()),
            PYTHONPATH=path,
            STAND_IN='RememberingTracker',
        )

    def start_page(self, **parameters):
        """Start a page node; return its process and its address."""
        given = {'port': 0, **parameters}
        process = self.run(
            '-m',
            'tam_ros.page.page_node',
            '--ros-args',
            *itertools.chain.from_iterable(('-p', f'{key}:={one}') for key, one in given.items()),
        )
        found = wait_for(
            'the address of the page',
            lambda: re.search(r'page: open (\S+)', process.log),
            lambda: process.log,
        )
        return process, found[1]

    def run(self, *arguments, **environment):
        log = self._folder / f'process{next(self._logs)}.log'
        return NodeProcess([sys.executable, *arguments], log, environment)

    def reset(self):
        """Track nothing, and show the squares."""
        self.camera.draw = squares
        self.client.reset()
        self.client.wait_for_image()

    def close(self):
        for process in (self.page, *self.tracks.values()):
            if process is not None:
                process.end()
                print(process.log[-3000:])
        for part in (self.client, self.camera):
            if part is not None:
                part.close()


class OpenPage:
    """A page in a browser, and everything that it sends and receives."""

    def __init__(self, browser, robot, address=None, phone=False, **options):
        self.robot = robot
        size = {'width': 390, 'height': 800} if phone else {'width': 1100, 'height': 700}
        options = {'viewport': size, 'has_touch': phone, **options}
        self._context = browser.new_context(**options)
        self.page = self._context.new_page()
        self.sent, self.frames, self.errors, self.texts = [], [], [], []
        self.count = 0
        self._session = None
        self.page.on('websocket', self._listen)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.goto(address or robot.address)
        self.wait('a tracked frame', lambda: self.frame['tracked'])

    def _listen(self, socket):
        socket.on('framesent', lambda data: self.sent.append(json.loads(data)))
        socket.on('framereceived', self._receive)

    def _receive(self, data):
        if isinstance(data, str):
            self.texts.append(json.loads(data))
            return
        self.count += 1
        self.frames = [data]

    @property
    def frame(self):
        """Header of the newest frame; an empty one if there is none."""
        return (
            unpack_frame(self.frames[-1])[0] if self.frames else {'tracked': False, 'objects': ()}
        )

    @property
    def objects(self):
        return {item['id']: item for item in self.frame['objects']}

    @property
    def prompts(self):
        return [fields for fields in self.sent if fields['type'] == 'prompt']

    def wait(self, what, condition, timeout=30.0):
        """Wait until a condition holds, while the browser goes on; return its value."""
        return wait_for(what, condition, self._state, timeout, self.page.wait_for_timeout)

    def _state(self):
        return f'{self.frame}; {self.texts[-3:]}; {self.errors}; {self.page.inner_text("body")}'

    def labels(self):
        """Return the newest label image as ids [H, W], and its stamp."""
        import cv2

        header, _, png = unpack_frame(self.frames[-1])
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        return pixels, int(header['stamp'])

    def screen(self, x, y, zoom=1.0):
        """Return where a pixel of the image is in the window, with the picture in the middle."""
        box = self.page.locator('#view').bounding_box()
        scale = zoom * min(box['width'] / SIZE[1], box['height'] / SIZE[0])
        return (
            box['x'] + box['width'] / 2 + (x + 0.5 - SIZE[1] / 2) * scale,
            box['y'] + box['height'] / 2 + (y + 0.5 - SIZE[0] / 2) * scale,
        )

    def click(self, x, y, **options):
        self.page.mouse.click(*self.screen(x, y), **options)

    def drag(self, x0, y0, x1, y1):
        self.page.mouse.move(*self.screen(x0, y0))
        self.page.mouse.down()
        self.page.mouse.move(*self.screen((x0 + x1) / 2, (y0 + y1) / 2))
        self.page.mouse.move(*self.screen(x1, y1))
        self.page.mouse.up()

    def add(self, x, y, number):
        """Click, and wait for the object."""
        self.click(x, y)
        self.wait(f'object {number}', lambda: number in self.objects)

    def answer(self, count):
        """Wait for an answer; return it."""
        answers = lambda: [text for text in self.texts if text['type'] == 'answer']  # noqa: E731
        return self.wait('an answer', lambda: len(answers()) >= count and answers()[count - 1])

    def touch(self, kind, *places):
        """Change which fingers are down: `touchStart`, `touchMove` or `touchEnd`."""
        self._session = self._session or self._context.new_cdp_session(self.page)
        points = [{'x': x, 'y': y, 'id': i} for i, (x, y) in enumerate(places)]
        self._session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': points})

    def hide(self, hidden):
        """Put the page into the background, as far as it can tell."""
        self.page.evaluate(
            """(hidden) => {
              Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
              document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )

    def close(self):
        with contextlib.suppress(Exception):
            self._context.close()
        assert not self.errors, self.errors


def wait_for(what, condition, describe=str, timeout=30.0, sleep=lambda ms: time.sleep(ms / 1e3)):
    """Wait until a condition returns something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f'waited {timeout} s for {what}: {describe()}')
        sleep(30)
    return value
