# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A graph of real processes: the node in its own process, the test's node in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import defaultdict

import pytest

NODE = '/track_node'


class NodeProcess:
    """A node in its own process; its output is written to a file."""

    def __init__(self, command, log_path, environment):
        self.log_path = log_path
        with log_path.open('wb') as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def log(self):
        return self.log_path.read_text(errors='replace')

    def interrupt(self, timeout=15):
        """Press Ctrl-C; return the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout)

    def end(self):
        """Interrupt it, or kill it as a last resort, which leaves 64 MiB in /dev/shm."""
        if self.process.poll() is not None:
            return
        try:
            self.interrupt(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Peer:
    """The test's side of the graph: a camera, a client, and a listener that keeps all messages."""

    def __init__(self, node_name=NODE, compressed=False):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CompressedImage, Image

        from tam_ros.client import TamClient
        from tam_ros.msg import Prompt, TrackedObjectArray

        self.client = TamClient(node_name, timeout=20.0)
        self.node = self.client.node
        self.name = node_name
        self.received = defaultdict(list)
        self._changed = threading.Condition()
        kind = CompressedImage if compressed else Image
        self.images = self.node.create_publisher(kind, '/camera/image', 5)
        self.prompts = self.node.create_publisher(Prompt, f'{node_name}/prompt', 5)
        for kind, topic in (
            (TrackedObjectArray, f'{node_name}/objects'),
            (Image, f'{node_name}/labels'),
            (DiagnosticArray, '/diagnostics'),
        ):
            self.listen(kind, topic)
        self.stamp_ns = time.time_ns()

    def listen(self, kind, topic):
        key = topic.rpartition('/')[2]

        def keep(message):
            with self._changed:
                self.received[key].append(message)
                self._changed.notify_all()

        return self.node.create_subscription(kind, topic, keep, 20)

    def wait(self, what, predicate, timeout=20.0):
        """Wait until `predicate` returns a true value, and return it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                value = predicate()
                if value:
                    return value
                left = deadline - time.monotonic()
                if left <= 0:
                    pytest.fail(f'waited {timeout} s for {what}')
                self._changed.wait(min(left, 0.1))

    def message(self, key, stamp_ns, timeout=20.0):
        """Return the message on a topic whose header has this stamp."""
        from tam_ros.ros.conversions import stamp_ns as read

        return self.wait(
            f'{key} at {stamp_ns}',
            lambda: next((m for m in self.received[key] if read(m.header) == stamp_ns), None),
            timeout,
        )

    def header(self, stamp_ns, frame_id='camera_optical'):
        from builtin_interfaces.msg import Time
        from std_msgs.msg import Header

        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)

    def send(self, image, stamp_ns=None):
        """Publish an image; return its stamp, by default 33 ms after the previous one."""
        from tam_ros.ros.conversions import array_to_image

        if stamp_ns is None:
            self.stamp_ns = stamp_ns = self.stamp_ns + 33_000_000
        self.images.publish(array_to_image(image, 'rgb8', self.header(stamp_ns)))
        return stamp_ns

    def track(self, image, stamp_ns=None):
        """Publish an image and wait for its results: objects and labels."""
        stamp_ns = self.send(image, stamp_ns)
        return self.message('objects', stamp_ns), self.message('labels', stamp_ns)

    def meet(self, process, image):
        """Publish images until their results are received."""
        deadline = time.monotonic() + 30
        while not (self.received['objects'] and self.received['labels']):
            if process.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f'the node does not answer:\n{process.log}')
            self.send(image)
            time.sleep(0.1)
        # After this no result of these images is outstanding.
        self.track(image)

    def diagnostics(self, predicate, timeout=10.0):
        """Wait for a status of the node, as (status, values), for which `predicate` holds."""

        def find():
            for array in self.received['diagnostics']:
                for status in array.status:
                    values = {item.key: item.value for item in status.values}
                    if status.name.startswith(self.name[1:]) and predicate(status, values):
                        return status, values
            return None

        return self.wait('a matching diagnostic status', find, timeout)

    def call(self, kind, name, request, timeout=20.0):
        """Call a service of the node; return the answer."""
        return self.client.call(kind, name, request, timeout)

    def close(self):
        self.client.close()


def click(x, y, object_id=0, action=0, **fields):
    """Return a prompt of one click, by default for a new object."""
    from geometry_msgs.msg import Point

    from tam_ros.msg import Prompt

    return Prompt(
        object_id=object_id, action=action, points=[Point(x=float(x), y=float(y))], **fields
    )


def add(peer, prompt):
    """Send a prompt through the node's service; return the answer."""
    from tam_ros.srv import AddPrompt

    return peer.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=prompt))


def change_state(peer, transition):
    """Request a transition, by name (`configure`) or number; return whether it succeeded."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    number = transition
    if isinstance(transition, str):
        number = getattr(Transition, f'TRANSITION_{transition.upper()}')
    request = ChangeState.Request(transition=Transition(id=number))
    return peer.call(ChangeState, 'change_state', request, timeout=60).success
