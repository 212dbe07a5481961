"""The tracking node: an image topic and prompts in, label images and tracked objects out."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from tam_ros.io.encodings import ImageFormatError
from tam_ros.msg import Prompt
from tam_ros.ros.conversions import image_to_rgb, stamp_ns
from tam_ros.ros.health import Health
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.ros.outputs import Outputs
from tam_ros.ros.parameters import check_changes, declare
from tam_ros.ros.prompts import read_prompt
from tam_ros.ros.session import Answer, Limits, Session, StaleFrameError
from tam_ros.srv import AddPrompt, RemoveObject, Reset
from tam_ros.tracking import (
    FrameError,
    PromptError,
    Tracker,
    TrackerOptions,
)

ImageMessage = Image | CompressedImage
OpenTracker = Callable[..., Tracker]

# Clicks are rare and none may be lost.
PROMPT_QOS = QoSProfile(depth=20)


class TrackNode(LifecycleNode):
    """Managed node around one tracker.

    configure opens the model, activate subscribes to the images, deactivate stops listening and
    keeps the objects, cleanup frees the model. Images go through a mailbox to the inference
    thread, which publishes; prompts and services are answered from there between two images.
    """

    def __init__(self, open_tracker: OpenTracker = Tracker.open) -> None:
        """Declare parameters, publishers and services.

        Args:
            open_tracker: makes the tracker, with the arguments of `Tracker.open`.
        """
        super().__init__('track_node')
        declare(self)
        self.add_on_set_parameters_callback(
            lambda changes: check_changes(changes, configured=self._inference is not None)
        )
        self._open_tracker = open_tracker
        self._inference: InferenceThread[ImageMessage] | None = None
        self._images: Subscription | None = None
        self._received_ns: int | None = None
        self._outputs = Outputs(self)
        self._health = Health(self)
        self._statistics = self._health.statistics

        self.create_subscription(Prompt, '~/prompt', self._on_prompt, PROMPT_QOS)
        self.create_service(AddPrompt, '~/add_prompt', self._on_add_prompt)
        self.create_service(RemoveObject, '~/remove_object', self._on_remove_object)
        self.create_service(Reset, '~/reset', self._on_reset)

    # --- lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model; FAILURE, and a sentence in the log, where that cannot be done."""
        self._health.state = 'configuring'
        try:
            self._health.activity(
                f'opening {self._value("model")} with {self._value("runtime")}'
            )
            self._inference = InferenceThread(self._open_session, self._track)
        except Exception as error:
            self._health.closed()
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
            options=TrackerOptions(
                max_objects=self._value('max_objects'),
                resize=self._value('resize'),
                lost_after=self._value('lost_after'),
                refined_frames_condition=self._value('refined_frames_condition'),
                skip_occluded_memories=self._value('skip_occluded_memories'),
                remove_after=self._value('remove_after') or None,
                recall_seconds=self._value('recall_seconds'),
                catch_up=self._value('catch_up'),
            ),
        )
        return Session(tracker, self._limits, self._refuse)

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
        self._images = self.create_subscription(
            CompressedImage if compressed else Image,
            'image',
            self._on_image,
            qos,
        )
        self.get_logger().info(f'waiting for images on {self.resolve_topic_name("image")}')
        self._health.state = 'active'
        self._statistics.listening()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; objects are kept."""
        self._stop_listening()
        self._health.state = 'inactive'
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model. Not called on SIGINT, hence `release` in main()."""
        self.release()
        self._health.state = 'finalized'
        return super().on_shutdown(state)

    def release(self) -> None:
        """Stop the inference thread and free the model; may be called twice."""
        self._stop_listening()
        if self._inference is not None:
            if not self._inference.stop():
                self.get_logger().error('the tracker hangs and could not be freed')
            self._inference = None
            self._health.closed()
            self._received_ns = None

    def _stop_listening(self) -> None:
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None

    # --- images ---

    def _on_image(self, message: ImageMessage) -> None:
        self._received_ns = stamp_ns(message.header)
        if self._inference is not None:
            dropped = self._inference.submit(message)
            self._statistics.received(self._age_s(self._received_ns), dropped)

    def _track(self, session: Session, message: ImageMessage) -> None:
        """Track one image and publish its results; runs in the inference thread."""
        try:
            with self._statistics.stage('decode'):
                image = image_to_rgb(message)
            with self._statistics.stage('track'):
                frame = session.step(image, stamp_ns(message.header))
            with self._statistics.stage('publish'):
                if not self.context.ok():
                    return
                self._outputs.publish(frame, session.names, message.header, image)
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

    def _on_prompt(self, message: Prompt) -> None:
        answer = self._add(message)
        if not answer.accepted:
            self._refuse(f'prompt for object {message.object_id} refused: {answer.reason}')

    def _on_add_prompt(
        self, request: AddPrompt.Request, response: AddPrompt.Response
    ) -> AddPrompt.Response:
        response.accepted, response.object_id, response.reason = self._add(request.prompt)
        return self._answered(response)

    def _on_remove_object(
        self, request: RemoveObject.Request, response: RemoveObject.Response
    ) -> RemoveObject.Response:
        answer = self._ask(lambda session: session.remove(request.object_id))
        response.accepted, response.reason = answer.accepted, answer.reason
        return self._answered(response)

    def _on_reset(self, request: Reset.Request, response: Reset.Response) -> Reset.Response:
        answer = self._ask(lambda session: session.reset())
        response.accepted, response.reason = answer.accepted, answer.reason
        return self._answered(response)

    def _add(self, message: Prompt) -> Answer:
        # Read here, not in the inference thread: a prompt may be large.
        try:
            request = read_prompt(message)
        except PromptError as error:
            return Answer(False, message.object_id, str(error))
        return self._ask(lambda session: session.ask(request, self._received_ns))

    def _ask(self, question: Callable[[Session], Answer]) -> Answer:
        if self._inference is None:
            return Answer(False, 0, 'the node is not configured yet: activate it first')
        try:
            return self._inference.ask(question)
        except BusyError as error:
            return Answer(False, 0, str(error))
        except Exception as error:
            # Whoever asked gets an answer, and the stream goes on.
            self._statistics.failed(f'{type(error).__name__}: {error}')
            self.get_logger().error(traceback.format_exc())
            return Answer(False, 0, f'internal error: {error}; see the log of the node')

    def _answered(self, response: Any) -> Any:
        if not response.accepted:
            self._statistics.count('refused_requests', response.reason)
        return response

    def _refuse(self, text: str) -> None:
        """Say in the log and in diagnostics what nobody waits for the answer of."""
        self._statistics.count('refused_requests', text)
        self.get_logger().warning(text, throttle_duration_sec=1.0)

    # --- the rest ---

    def _age_s(self, stamp_ns: int) -> float:
        return (self.get_clock().now().nanoseconds - stamp_ns) / 1e9

    def _limits(self) -> Limits:
        names = ('max_objects', 'recall_seconds', 'time_jump')
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
    except (
        InvalidParameterTypeException,
        InvalidParameterValueException,
        ParameterUninitializedException,
        ValueError,
    ) as error:
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
        node.release()
        node.destroy_node()
    rclpy.try_shutdown()


def _start(node: TrackNode) -> bool:
    done = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == done and node.trigger_activate() == done


if __name__ == '__main__':
    sys.exit(main())
