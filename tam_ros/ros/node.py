# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracking node: an image topic and prompts in, label images and tracked objects out."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from tam_ros.io.encodings import ImageFormatError
from tam_ros.ros.calibration import Calibration
from tam_ros.ros.conversions import image_to_rgb, stamp_ns
from tam_ros.ros.declaration import check_changes, declare, unknown, values
from tam_ros.ros.health import Health
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.ros.inputs import Inputs
from tam_ros.ros.lifecycle import ManagedNode, transition
from tam_ros.ros.losses import subscribe
from tam_ros.ros.outputs import Outputs
from tam_ros.ros.parameters import PARAMETERS
from tam_ros.ros.session import Answer, Limits, Session, StaleFrameError
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tracking import FrameError, Tracker, TrackerOptions

ImageMessage = Image | CompressedImage
OpenTracker = Callable[..., Tracker]

LIVE_OPTIONS = tuple(
    parameter.name
    for parameter in PARAMETERS
    if parameter.live and parameter.name in TrackerOptions.__dataclass_fields__
)
"""Options of the tracker that change while it runs."""


class TrackNode(ManagedNode):
    """Managed node around one tracker.

    configure opens the model, activate subscribes to the images, deactivate stops listening and
    keeps the objects, cleanup frees the model. Images go through a mailbox to the inference
    thread, which publishes; prompts and services are answered from there between two images.
    """

    def __init__(self, open_tracker: OpenTracker = Tracker.open) -> None:
        """Declare parameters, publishers, subscriptions and services.

        Args:
            open_tracker: makes the tracker, with the arguments of `Tracker.open`.
        """
        super().__init__('track_node')
        declare(self)
        for warning in unknown(self):
            self.get_logger().warning(warning)
        self.add_on_set_parameters_callback(
            lambda changes: check_changes(
                changes, values(self), configured=self._inference is not None
            )
        )
        self._open_tracker = open_tracker
        self._inference: InferenceThread[ImageMessage] | None = None
        self._images: Subscription | None = None
        self.received_ns: int | None = None
        self._calibration = Calibration(self)
        self._inputs = Inputs(self, self._calibration)
        self._health = Health(self)
        self._statistics = self._health.statistics
        self._outputs = Outputs(self, self._calibration, self._statistics)

    # --- lifecycle ---

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model; FAILURE, and a sentence in the log, where that cannot be done."""
        self._health.state = 'configuring'
        try:
            self._health.activity(f'opening {self._value("model")} with {self._value("runtime")}')
            self._inference = InferenceThread(self._open_session, self._track)
        except Exception as error:
            self._health.closed()
            self._health.state = 'unconfigured'
            self.get_logger().debug(traceback.format_exc())
            self.get_logger().error(f'cannot open {self._value("model")}: {error}')
            return TransitionCallbackReturn.FAILURE
        facts = self._health.opened(self._inference)
        self.get_logger().info(f'opened {", ".join(facts.values())}')
        if facts['weights'].startswith('untrained'):
            self.get_logger().warning('the weights are untrained: the masks mean nothing')
        self._health.state = 'inactive'
        return super().on_configure(state)

    def _open_session(self) -> Session:
        tracker = self._open_tracker(
            self._value('model'),
            self._value('weights') or None,
            self._value('runtime'),
            threads=self._value('threads') or None,
            precision=self._value('precision'),
            engines=EngineOptions(
                build=self._value('build_engines'),
                zero_copy=self._value('zero_copy'),
                cuda_graphs=self._value('cuda_graphs'),
                progress=self._health.building,
                cancelled=self._health.ending,
            ),
            options=TrackerOptions(
                max_objects=self._value('max_objects'),
                resize=self._value('resize'),
                prompt_history_seconds=self._value('prompt_history_seconds'),
                **self._live_options(),
            ),
        )
        return Session(tracker, self._limits, lambda text: self.refused(text, log=True))

    def _live_options(self) -> dict[str, Any]:
        options = {name: self._value(name) for name in LIVE_OPTIONS}
        return {**options, 'remove_after': options['remove_after'] or None}

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the images."""
        compressed = self._value('image_transport') == 'compressed'
        reliable = self._value('qos_reliability') == 'reliable'
        # The middleware keeps one image, the mailbox another: nothing old is ever tracked.
        qos = QoSProfile(
            depth=1,
            history=HistoryPolicy.KEEP_LAST,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        kind = CompressedImage if compressed else Image
        lost = self._statistics.lost
        self._images = subscribe(self, kind, 'image', self._on_image, qos, lost)
        self.get_logger().info(f'waiting for images on {self.resolve_topic_name("image")}')
        self._health.state = 'active'
        self._statistics.listening()
        return super().on_activate(state)

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; objects are kept, or forgotten if `keep_objects` is false."""
        self._stop_listening()
        if not self._value('keep_objects'):
            self.ask(self._inputs.reset)
        self._health.state = 'inactive'
        return super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.release()
        return super().on_cleanup(state)

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model. Not called on SIGINT, hence `release` in main()."""
        self.release()
        self._health.state = 'finalized'
        return super().on_shutdown(state)

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free what a transition that failed half way has left: the node may configure again."""
        self.release()
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def release(self) -> None:
        """Stop the inference thread and free the model; may be called twice."""
        self._stop_listening()
        self._health.state = 'unconfigured'
        if self._inference is not None:
            if not self._inference.stop():
                self.get_logger().error('the tracker hangs and could not be freed')
            self._inference = None
            self._health.closed()
            self._inputs.forget()
            self.received_ns = None

    def destroy_node(self) -> None:
        """Free the model, and end."""
        self.release()
        self._health.stop()
        super().destroy_node()

    @property
    def listening(self) -> bool:
        """Whether images are heard."""
        return self._images is not None

    def _stop_listening(self) -> None:
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None

    # --- images ---

    def _on_image(self, message: ImageMessage) -> None:
        self.received_ns = stamp_ns(message.header)
        if self._inference is not None:
            dropped = self._inference.submit(message)
            self._statistics.received(self._age_s(self.received_ns), dropped)

    def _track(self, session: Session, message: ImageMessage) -> None:
        """Track one image and publish its results; runs in the inference thread."""
        try:
            with self._statistics.stage('decode'):
                image = image_to_rgb(message)
            with self._statistics.stage('track'):
                session.tracker.set_options(**self._live_options())
                frame = session.step(image, stamp_ns(message.header))
            with self._statistics.stage('publish'):
                if not self.context.ok():
                    return
                self._outputs.publish(frame, session.names, message.header, image)
                self._inputs.published(frame, message.header)
        except StaleFrameError as error:
            self._statistics.count('stale_images', str(error))
            self.get_logger().warning(f'image dropped: {error}', throttle_duration_sec=5.0)
        except (ImageFormatError, FrameError) as error:
            self._statistics.count('refused_images', str(error))
            self.get_logger().warning(f'image refused: {error}', throttle_duration_sec=5.0)
        except Exception as error:
            if not self.context.ok():
                return  # interrupted while it published
            self._statistics.failed(f'{type(error).__name__}: {error}')
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        else:
            self._health.objects = frame.objects
            self._statistics.stages(frame.stage_seconds)
            self._statistics.tracked(self._age_s(stamp_ns(message.header)))

    # --- requests ---

    def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Have a question answered between two images; an answer comes whatever happens."""
        if self._inference is None:
            return Answer(False, 0, 'the node is not configured yet: activate it first')
        try:
            return self._inference.ask(question)
        except BusyError as error:
            return Answer(False, 0, str(error))
        except Exception as error:
            # Whoever asked gets an answer, and the stream goes on.
            self._failed(error)
            return Answer(False, 0, f'internal error: {error}; see the log of the node')

    def tell(self, order: Callable[[Session], None]) -> Future | None:
        """Have something done between two images, and do not wait for it.

        Returns:
            With which it can be taken back as long as it has not begun; None: there is no tracker.
        """

        def carry_out(session: Session) -> None:
            try:
                order(session)
            except Exception as error:
                self._failed(error)

        try:
            return self._inference and self._inference.request(carry_out)
        except BusyError:
            return None

    def _failed(self, error: Exception) -> None:
        self._statistics.failed(f'{type(error).__name__}: {error}')
        self.get_logger().error(traceback.format_exc())

    def refused(self, reason: str, log: bool) -> None:
        """Count a refused request; log it where nobody waits for the answer."""
        self._statistics.count('refused_requests', reason)
        if log:
            self.get_logger().warning(reason, throttle_duration_sec=1.0)

    # --- the rest ---

    def _age_s(self, stamp_ns: int) -> float:
        return (self.get_clock().now().nanoseconds - stamp_ns) / 1e9

    def _limits(self) -> Limits:
        names = ('max_objects', 'prompt_history_seconds', 'time_jump')
        return Limits(*map(self._value, names))

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def main(args: list[str] | None = None, open_tracker: OpenTracker = Tracker.open) -> int:
    """Run the node until it is interrupted; return the exit status."""
    rclpy.init(args=args)
    node = None
    try:
        node = TrackNode(open_tracker)
        # A request holds the executor until the image being tracked is done, for which the next
        # image has to wait anyway. The executor with several threads gains nothing by that and, in
        # Jazzy, now and then leaves a subscription unserved for a second and more.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter('autostart').value and not _start(node):
            return 1
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterException, ValueError) as error:
        print(f'track_node: {error}', file=sys.stderr)
        return 1
    finally:
        try:
            _clean_up(node)
        except KeyboardInterrupt:
            _clean_up(node)
    return 0


def _clean_up(node: TrackNode | None) -> None:
    # Whoever presses Ctrl-C twice must not stop this half way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()


def _start(node: TrackNode) -> bool:
    done = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == done and node.trigger_activate() == done


if __name__ == '__main__':
    sys.exit(main())
