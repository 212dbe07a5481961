# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A camera of drawn images: `python -m benchmark.camera --size 1280x720 --rate 30`.

Publishes `image`, rgb8, stamped when it is sent, best effort as many camera drivers do, or
reliably with `--reliable`. With `--publish-headers` it also publishes the header of each image on
`sent`, reliably and before the image, for listeners that check the results against the images
sent. With `--count` it sends so many images, from two seconds after it has a subscriber, and ends.
"""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.evaluation.synthetic import MovingDiscs
from tam_ros.ros.conversions import array_to_image

OBJECTS = 4
FRAME_ID = 'camera_optical_frame'
SENT_QOS = QoSProfile(depth=1000)  # a busy listener must not lose any
SETTLING_S = 2.0
"""Seconds before the first of `--count` images and after the last."""

_IMAGES = 60  # drawn in advance, shown forwards and backwards


def main(arguments: list[str] | None = None) -> int:
    """Publish until interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.camera', description=__doc__)
    parser.add_argument('--size', default='640x480', help='WIDTHxHEIGHT, pixels')
    parser.add_argument('--rate', type=float, default=30.0, help='images per second')
    parser.add_argument('--publish-headers', action='store_true')
    parser.add_argument('--reliable', action='store_true')
    parser.add_argument('--count', type=int, default=0, help='images to send; 0: no limit')
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    width, height = map(int, options.size.split('x'))
    scene = MovingDiscs(OBJECTS, (height, width))
    header = Header(frame_id=FRAME_ID)
    drawn = [array_to_image(scene.frame(3 * n)[0], 'rgb8', header) for n in range(_IMAGES)]
    shown = drawn + drawn[-2:0:-1]

    rclpy.init(args=arguments)
    node = rclpy.create_node('camera')
    # The depths of image_transport's drivers and of sensor data.
    qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10 if options.reliable else 1)
    if not options.reliable:
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    images = node.create_publisher(Image, 'image', qos)
    sent = node.create_publisher(Header, 'sent', SENT_QOS) if options.publish_headers else None
    try:
        while sent is not None and not sent.get_subscription_count():
            time.sleep(0.01)  # the listener must receive every header
        if options.count:
            while not images.get_subscription_count():
                time.sleep(0.01)
            time.sleep(SETTLING_S)
        begin, count = time.monotonic(), 0
        while rclpy.ok() and not 0 < options.count <= count:
            message = shown[count % len(shown)]
            message.header.stamp = node.get_clock().now().to_msg()
            if sent is not None:
                sent.publish(message.header)
            images.publish(message)
            count += 1
            # Relative to the begin, to avoid drift; after a pause the rate does not increase.
            begin = max(begin, time.monotonic() - count / options.rate - 0.5)
            time.sleep(max(0.0, begin + count / options.rate - time.monotonic()))
        time.sleep(SETTLING_S)  # lost parts are sent again
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
