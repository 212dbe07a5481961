# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which sensor lies, on /diagnostics: `ros2 run tam_ros fault_node`; see docs/faults.md."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import SetBool

from tam_ros.faults.agreement import Agreement, Comparison, PairChange
from tam_ros.faults.baseline import (
    MAX_WINDOWS,
    Baseline,
    BaselineError,
    learn_baseline,
    load_baseline,
    save_baseline,
)
from tam_ros.faults.windows import Windows
from tam_ros.interfaces import NODE_NAME, OBJECTS
from tam_ros.msg import TrackedObjectArray
from tam_ros.new_output import OutputError
from tam_ros.ros.command_line import CommandLineError, init_ros
from tam_ros.ros.companions.fault_channels import DetectionChannels, TrackerChannels
from tam_ros.ros.shutdown import EndSignals

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:  # optional
    Detection2DArray = None

FAULT_NODE = 'fault_node'
BASELINE_FILE = 'tam_ros_faults.npz'
SHOWN = 10  # pairs in the values of the status

_BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_TICKS = 4  # in a window


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


class FaultNode(Node):
    """Gathers statistics, learns a baseline on request, and compares with it."""

    def __init__(self) -> None:
        """Read the parameters, load the baseline if there is one, and subscribe.

        Raises:
            ParameterError: a parameter cannot be used.
            BaselineError: the baseline cannot be read.
        """
        super().__init__(FAULT_NODE)
        trackers = self._parameter('trackers', [f'/{NODE_NAME}'], 'tracking nodes')
        detections = self._parameter('detections', [''], 'topics of Detection2DArray')
        self._window_s: float = self._parameter('window', 2.0, 'length of a window, seconds')
        self._recent: int = self._parameter('recent', 40, 'windows that are compared')
        self._path = _baseline_path(self._parameter('baseline', '', 'file of the baseline'))
        if not 0.1 <= self._window_s <= 3600:
            raise ParameterError(f'window is {self._window_s:g}, not 0.1 to 3600 s')
        if not 5 <= self._recent <= MAX_WINDOWS // 10:
            raise ParameterError(f'recent is {self._recent}, not 5 to {MAX_WINDOWS // 10}')
        self._windows = Windows(self._window_s, self._recent)
        self._learning = False
        self._baseline: Baseline | None = None
        self._agreement: Agreement | None = None
        self._comparison: Comparison | None = None
        if self._path.exists():
            self._use(load_baseline(self._path))
        self._publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._trackers = [TrackerChannels(name, self._add) for name in trackers if name]
        for name, channels in zip(filter(None, trackers), self._trackers, strict=True):
            self.create_subscription(
                TrackedObjectArray,
                OBJECTS.replace('~', name, 1),
                partial(self._on_objects, channels),
                _BEST_EFFORT,
            )
        if any(detections) and Detection2DArray is None:
            raise ParameterError(
                f'detections needs vision_msgs: install ros-{os.environ.get("ROS_DISTRO")}-'
                f'vision-msgs, or leave the parameter empty'
            )
        for topic in filter(None, detections):
            read = partial(self._on_detections, DetectionChannels(topic, self._add))
            self.create_subscription(Detection2DArray, topic, read, _BEST_EFFORT)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.create_service(SetBool, '~/learn', self._on_learn)
        self.create_timer(self._window_s / _TICKS, self._on_tick)
        self.create_timer(1.0, self._publish)

    def _parameter(self, name, default, description):
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return self.declare_parameter(name, default, descriptor).value

    def _add(self, channel: str, value: float, largest: bool) -> None:
        self._windows.add(channel, value, largest)

    def _on_objects(self, channels: TrackerChannels, message: TrackedObjectArray) -> None:
        channels.objects(message, time.monotonic(), self.get_clock().now().nanoseconds)

    def _on_detections(self, channels: DetectionChannels, message: Detection2DArray) -> None:
        channels.detections(message, time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for channels in self._trackers:
            channels.diagnostics(message)

    def _on_tick(self) -> None:
        """Complete a window and compare."""
        if not self._windows.advance(time.monotonic()) or self._learning:
            return
        if self._agreement is None or len(self._windows) < self._recent:
            return
        channels = self._agreement.channels
        self._comparison = self._agreement.compare(self._windows.table(channels, self._recent))

    def _on_learn(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        try:
            response.message = self._begin() if request.data else self._end()
            response.success = True
            self.get_logger().info(f'~/learn: {response.message}')
        except (BaselineError, OutputError) as error:
            response.message = str(error)
            self.get_logger().warning(f'~/learn: {error}')
        return response

    def _begin(self) -> str:
        self._learning = True
        self._windows = Windows(self._window_s, MAX_WINDOWS)
        self._comparison = None
        return f'learning; at least {3 * self._recent * self._window_s:.0f} s, better ten times'

    def _end(self) -> str:
        """Learn from the windows since the beginning; if they do not suffice, go on.

        Raises:
            BaselineError: that is not possible; learning goes on.
            OutputError: the baseline is used, but cannot be saved.
        """
        if not self._learning:
            raise BaselineError('learning has not begun: call ~/learn with data: true first')
        channels = self._windows.channels
        baseline = learn_baseline(
            channels, self._windows.table(channels), self._recent, self._window_s
        )
        self._use(baseline)
        self._learning = False
        self._windows = Windows(self._window_s, self._recent)
        save_baseline(baseline, self._path)
        left_out = f'; left out: {", ".join(baseline.left_out)}' if baseline.left_out else ''
        return (
            f'{len(baseline.windows)} windows of {len(baseline.channels)} channels are saved in '
            f'{self._path}{left_out}'
        )

    def _use(self, baseline: Baseline) -> None:
        """Compare with a baseline from now on; takes seconds if it has many channels."""
        if (baseline.window_s, baseline.recent) != (self._window_s, self._recent):
            raise BaselineError(
                f'{self._path} was learned with window {baseline.window_s:g} and recent '
                f'{baseline.recent}: set these parameters, or remove the file and learn again'
            )
        self._agreement = Agreement(baseline.channels, baseline.windows, baseline.recent)
        self._baseline = baseline

    def _publish(self) -> None:
        message = DiagnosticArray(status=[self._status()])
        message.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _status(self) -> DiagnosticStatus:
        values = {
            'windows': len(self._windows),
            'channels': ', '.join(self._baseline.channels) if self._baseline else '',
            'baseline': str(self._path) if self._baseline else '',
        }
        if self._windows.refused_channels:
            values['values_of_too_many_channels'] = self._windows.refused_channels
        level, text = DiagnosticStatus.OK, 'all pairs agree as in the baseline'
        if self._learning:
            text = f'learning: {len(self._windows)} windows, at least {3 * self._recent} needed'
        elif self._agreement is None:
            level = DiagnosticStatus.WARN
            text = f'no baseline: call {self.get_fully_qualified_name()}/learn while all is well'
        elif self._comparison is None:
            text = f'gathering: {len(self._windows)} of {self._recent} windows'
        else:
            changed = reported(self._comparison)
            values.update({f'pair_{i}': describe(pair) for i, pair in enumerate(changed[:SHOWN])})
            if problem := summary(self._comparison, changed):
                level, text = DiagnosticStatus.WARN, problem
        return DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: agreement',
            message=text,
            hardware_id=os.uname().nodename,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def reported(comparison: Comparison) -> list[PairChange]:
    """Return the pairs of which a measure is above its limit, the most changed first."""
    return [pair for pair in comparison.pairs if pair.plain > 1 or pair.robust > 1]


def describe(pair: PairChange) -> str:
    """Return a pair in words, with both measures."""
    return (
        f'{pair.first} and {pair.second}: agreement {pair.before:.2f} before, {pair.now:.2f} now '
        f'(plain {pair.plain:.1f}, robust {pair.robust:.1f})'
    )


def summary(comparison: Comparison, changed: list[PairChange]) -> str:
    """Return what is wrong, or an empty text."""
    problems = []
    if comparison.silent:
        problems.append(f'silent: {", ".join(comparison.silent)}')
    if changed:
        more = f' and {len(changed) - 1} more pairs' if len(changed) > 1 else ''
        problems.append(f'{describe(changed[0])}{more}')
    return '; '.join(problems)


def _baseline_path(given: str) -> Path:
    home = os.environ.get('ROS_HOME') or '~/.ros'
    return Path(given or Path(home) / BASELINE_FILE).expanduser()


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status."""
    with EndSignals() as signals:
        node = None
        try:
            init_ros(args)
            node = FaultNode()
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            signals.spin(executor, node)
        except ExternalShutdownException:
            pass
        except (ParameterError, ParameterException, BaselineError, CommandLineError) as error:
            print(f'{FAULT_NODE}: {error}', file=sys.stderr)
            return 1
        finally:
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
