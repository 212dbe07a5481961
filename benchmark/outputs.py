# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Duration of each output of the node and of conversions, in one process, without a model.

    python -m benchmark.outputs [--doc docs/performance.md]

The duration of an output is the time to make the message and to hand it to the middleware, with
one subscriber. The subscriber never reads, so that it needs no processor time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmark.document import publish, table
from benchmark.graph import isolate
from benchmark.stand_in import COST_MS, open_stand_in
from tam_ros.evaluation.synthetic import MovingDiscs
from tam_ros.evaluation.timing import boxes_on_a_grid, machine
from tam_ros.spatial import Camera
from tam_ros.tracking import FrameResult, TrackerOptions

SIZES = ((480, 640), (720, 1280))
OBJECTS = 4
FRAME_ID = 'camera_optical_frame'
NO_SUBSCRIBER = 'all, without a subscriber'


class Bench:
    """The outputs of a node, and one tracked image with its depth."""

    def __init__(self, size: tuple[int, int], image: np.ndarray, frame: FrameResult) -> None:
        """Make a node and bring it up.

        Args:
            size: (height, width) of the images.
            image: uint8 RGB [H, W, 3].
            frame: result of tracking the image.
        """
        import rclpy
        from rclpy.lifecycle import LifecycleNode
        from sensor_msgs.msg import Image

        from tam_ros.ros.conversions import array_to_image
        from tam_ros.ros.declaration import NodeParameters
        from tam_ros.ros.diagnostics.statistics import Statistics
        from tam_ros.ros.geometry.depth_images import DepthViews
        from tam_ros.ros.outputs.output import Publishers
        from tam_ros.ros.track_node import OUTPUTS

        height, width = size
        matrix = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        camera = Camera(width, height, matrix)
        self._image, self._frame = image, frame
        self._to_message = array_to_image
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = LifecycleNode('outputs', context=self._context)
        parameters = NodeParameters(self.node)
        self.statistics = Statistics()
        calibration: Any = SimpleNamespace(camera=lambda height, width: camera)
        self._views = DepthViews(self.node, parameters, calibration, self.statistics)
        self.publishers = Publishers(self.node, parameters, self.statistics, OUTPUTS)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self._listener = rclpy.create_node('listener', context=self._context)
        self._depth = self._listener.create_publisher(Image, 'depth', 5)
        depth = np.tile(np.linspace(800, 3000, width), (height, 1)).astype(np.uint16)
        self._depth_image = depth

    def listen(self, name: str, kind: type) -> None:
        """Subscribe to an output, and wait until the node has discovered it."""
        topic = f'/outputs/{name}'
        self._listener.create_subscription(kind, topic, lambda _: None, 5)
        while not self.node.count_subscribers(topic):
            time.sleep(0.01)
        time.sleep(0.2)

    def publish(self, steps: int) -> list[float]:
        """Publish the image `steps` times, each with its depth; return the seconds of each."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from std_msgs.msg import Header

        from tam_ros.ros.outputs.output import TrackedImage

        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self.node)
        took = []
        for _ in range(steps):
            stamp = rclpy.clock.Clock().now().to_msg()
            header = Header(stamp=stamp, frame_id=FRAME_ID)
            self._depth.publish(self._to_message(self._depth_image, '16UC1', header))
            for _ in range(20):  # receives the depth image
                executor.spin_once(timeout_sec=0.005)
            begin = time.perf_counter()
            result = TrackedImage(
                self._frame,
                {},
                header,
                self._image,
                partial(self._views.of, header, *self._frame.labels.shape),
            )
            self.publishers.publish(result)
            took.append(time.perf_counter() - begin)
        executor.shutdown()
        return took

    def close(self) -> None:
        """Destroy the nodes."""
        self._listener.destroy_node()
        self.node.destroy_node()
        self._context.shutdown()


def scene(size: tuple[int, int]) -> tuple[np.ndarray, FrameResult]:
    """Return an image and the result of tracking it."""
    image, _ = MovingDiscs(OBJECTS, size).frame(0)
    tracker = open_stand_in('any', options=TrackerOptions(resize='opencv'))
    return image, tracker.step(image, 0.0, boxes_on_a_grid(OBJECTS, size))


def kinds() -> dict[str, type]:
    """Return the message type of each output; those of vision_msgs only if it is installed."""
    from tam_ros.ros.track_node import OUTPUTS

    return {
        output.topic.removeprefix('~/'): output.message_type
        for output in OUTPUTS
        if output.message_type is not None and output.topic not in ('/tf', '~/label_info')
    }


def measure_outputs(size: tuple[int, int], steps: int) -> dict[str, float]:
    """Return the median milliseconds of each output, and of all without a subscriber."""
    image, frame = scene(size)
    bench = Bench(size, image, frame)
    try:
        found = {NO_SUBSCRIBER: 1e3 * float(np.median(bench.publish(steps)))}
        for name, kind in kinds().items():
            bench.listen(name, kind)
        bench.publish(steps)
        stages = bench.statistics.summary().stages_ms
        return found | {name: stages[name].p50 for name in kinds()}
    finally:
        bench.close()


def measure_conversions(size: tuple[int, int], steps: int) -> dict[str, float]:
    """Return the median milliseconds of conversions between messages and arrays."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from tam_ros.io.depth_messages import message_to_depth
    from tam_ros.io.image_decoder import ImageDecoder
    from tam_ros.ros.conversions import array_to_image

    rgb, _ = MovingDiscs(OBJECTS, size).frame(0)
    messages = {encoding: array_to_image(rgb, 'rgb8', Header()) for encoding in ('rgb8', 'bgr8')}
    messages['bgr8'].encoding = 'bgr8'
    to_rgb = ImageDecoder().message
    depth = array_to_image(rgb[..., 0].astype(np.uint16), '16UC1', Header())

    def assign(data: Any) -> Callable[[], None]:
        message = Image()

        def run() -> None:
            message.data = data() if callable(data) else data

        return run

    return {
        'rgb8 message to array': _median(lambda: to_rgb(messages['rgb8']), steps),
        'bgr8 message to array': _median(lambda: to_rgb(messages['bgr8']), steps),
        '16UC1 message to depth': _median(lambda: message_to_depth(depth), steps),
        'array to rgb8 message': _median(lambda: array_to_image(rgb, 'rgb8', Header()), steps),
        '`message.data = array.tobytes()`': _median(assign(rgb.tobytes), steps),
        '`message.data = array.ravel()`': _median(assign(rgb.ravel()), 3),
    }


def describe(found: dict[tuple[int, int], dict[str, float]], what: str) -> str:
    """Return a table of milliseconds, a column for each size."""
    names = list(next(iter(found.values())))
    rows = [[name, *(f'{times[name]:.2f}' for times in found.values())] for name in names]
    return table([what, *(f'{width}x{height}, ms' for height, width in found)], rows)


def _median(work: Callable[[], Any], steps: int) -> float:
    took = []
    for _ in range(steps):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(took))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the tables into a document."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.outputs', description=__doc__)
    parser.add_argument('--steps', type=int, default=100, help='number of images of each size')
    parser.add_argument('--doc', type=Path, help='document with the section "outputs"')
    options = parser.parse_args(arguments)
    os.environ[COST_MS] = '0'
    with tempfile.TemporaryDirectory() as folder:
        isolate(Path(folder))
        outputs = {size: measure_outputs(size, options.steps) for size in SIZES}
        conversions = {size: measure_conversions(size, options.steps) for size in SIZES}
    text = '\n\n'.join(
        (
            describe(outputs, f'output, {OBJECTS} objects, median'),
            describe(conversions, 'conversion, median'),
            f'{machine()}.',
        )
    )
    publish(text, 'outputs', options.doc)


if __name__ == '__main__':
    main()
