# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A camera that plays a clip into a ROS graph: `python -m tam_ros.demo.camera`.

Publishes `image` (sensor_msgs/Image, rgb8) in real time, stamped when it is sent as a camera
driver does, and, for the drawn clip, `truth` (mono8 labels) with the same header. With
`--wait-for-play` it repeats the first frame until its service `~/play` is called, so that an
operator or a script can prompt on it. The message of the service's response is a time in
nanoseconds that is earlier than all stamps of the clip.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.demo.scene import DemoScene
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.ros.conversions import array_to_image

FRAME_ID = 'camera_optical_frame'
_STILL_PERIOD = 0.1  # seconds between two copies of the still image
_LEAD = 0.3  # seconds from ~/play to the first frame


class Shot(NamedTuple):
    """One frame to publish.

    Attributes:
        due: time to publish it, seconds after the first frame.
        rgb: uint8 [H, W, 3].
        truth: uint8 [H, W] labels, or None where they are unknown.
    """

    due: float
    rgb: np.ndarray
    truth: np.ndarray | None


class Camera(Node):
    """Publishes shots when they are due."""

    def __init__(self) -> None:
        """Create the publishers and the service."""
        super().__init__('camera')
        # Reliable matches both kinds of subscribers; the tracking node asks for best effort.
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
        )
        self._image = self.create_publisher(Image, 'image', qos)
        self._truth = self.create_publisher(Image, 'truth', qos)
        self.create_service(Trigger, '~/play', self._on_play)
        self._playing = False

    def show_still(self, shot: Shot) -> None:
        """Publish one shot repeatedly until `~/play` is called."""
        while not self._playing:
            self._publish(shot._replace(truth=None))
            self._serve(until=time.monotonic() + _STILL_PERIOD)

    def play(self, shots: Iterator[Shot]) -> int:
        """Publish each shot when it is due; return their number."""
        start = time.monotonic() + _LEAD
        count = 0
        for shot in shots:
            self._serve(until=start + shot.due)
            self._publish(shot)
            count += 1
        return count

    def _publish(self, shot: Shot) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=FRAME_ID)
        # Truth first: a subscriber that has received the image then has both.
        if shot.truth is not None:
            self._truth.publish(array_to_image(shot.truth, 'mono8', header))
        self._image.publish(array_to_image(shot.rgb, 'rgb8', header))

    def _serve(self, until: float) -> None:
        """Serve requests until a time of the monotonic clock."""
        while (left := until - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=left)

    def _on_play(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = not self._playing
        now_ns = self.get_clock().now().nanoseconds
        response.message = str(now_ns) if response.success else 'the clip is already playing'
        self._playing = True
        return response


def drawn_shots(seed: int, rate_hz: float) -> list[Shot]:
    """Draw the whole clip in advance, so that drawing does not disturb the timing."""
    scene = DemoScene(seed)
    return [Shot(index / rate_hz, *scene.frame(index)) for index in range(scene.frames)]


def recorded_shots(path: str, topic: str | None, rate_hz: float | None) -> Iterator[Shot]:
    """Read a video, a folder of images or a bag.

    Raises:
        SourceError: it cannot be read.
    """
    first = None
    for frame in open_source(path, topic, rate_hz):
        first = frame.stamp if first is None else first
        yield Shot(frame.stamp - first, frame.rgb, None)


def webcam_shots(number: int) -> Iterator[Shot]:
    """Read a webcam; each frame is due when it arrives.

    Raises:
        SourceError: there is no such webcam, or it has stopped.
    """
    capture = cv2.VideoCapture(number)
    try:
        while True:
            captured, bgr = capture.read()
            if not captured:
                raise SourceError(f'no image from camera {number} (/dev/video{number})')
            yield Shot(0.0, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), None)
    finally:
        capture.release()


def main(arguments: list[str] | None = None) -> int:
    """Play a clip; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tam_ros.demo.camera', description=__doc__)
    parser.add_argument('--video', help='video, image folder or bag; default: the drawn clip')
    parser.add_argument('--device', type=int, help='number of a webcam, instead of a clip')
    parser.add_argument('--topic', help='image topic of a bag')
    parser.add_argument(
        '--rate', type=float, help="frames per second, instead of the clip's own rate"
    )
    parser.add_argument('--frames', type=int, help='stop after this many frames')
    parser.add_argument('--seed', type=int, default=7, help='seed of the drawn clip')
    parser.add_argument('--loop', action='store_true', help='repeat the clip')
    parser.add_argument(
        '--wait-for-play',
        action='store_true',
        help='repeat the first frame until ~/play is called',
    )
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    drawn = None
    if not options.video and options.device is None:
        drawn = drawn_shots(options.seed, options.rate or DemoScene.rate_hz)

    def clip() -> Iterator[Shot]:
        if options.device is not None:
            return webcam_shots(options.device)
        shots = drawn or recorded_shots(options.video, options.topic, options.rate)
        return itertools.islice(shots, options.frames)

    rclpy.init(args=arguments)
    camera = Camera()
    try:
        if options.wait_for_play:
            camera.show_still(next(clip()))
        while camera.play(clip()) and options.loop:
            pass
        time.sleep(0.5)  # the last images are sent before the publishers are destroyed
    except SourceError as error:
        print(f'camera: {error}', file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the normal end of a node
    finally:
        # `ros2 launch` sends a second SIGINT after that of the terminal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        camera.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
