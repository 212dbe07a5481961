# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracking node: receives images and prompts, publishes label images and tracked objects."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeAlias

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image

from tam_ros.interfaces import NODE_NAME
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.stamps import NANOSECONDS, ImageStamps
from tam_ros.prompting.second_model import SecondModel
from tam_ros.prompting.session import TrackingSession
from tam_ros.prompting.stream_clock import StaleFrameError
from tam_ros.ros.command_line import CommandLineError, init_ros, origin_of, read_arguments
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.declaration import (
    InvalidParameterError,
    NodeParameters,
    unknown_parameter_warnings,
)
from tam_ros.ros.diagnostics.health import Health
from tam_ros.ros.geometry.calibration import Calibration
from tam_ros.ros.geometry.depth_images import DepthViews
from tam_ros.ros.images.offers import Wanted
from tam_ros.ros.images.subscription import ImageSubscription
from tam_ros.ros.images.transports import IMAGES
from tam_ros.ros.inference import BusyError, InferenceThread, InterruptedOpeningError
from tam_ros.ros.inputs.clicks import ClickTopics
from tam_ros.ros.inputs.detections import DetectionTopic
from tam_ros.ros.inputs.detector import DetectorSource
from tam_ros.ros.inputs.masks import MaskTopic
from tam_ros.ros.inputs.objects import ObjectServices
from tam_ros.ros.inputs.previews import PreviewService
from tam_ros.ros.inputs.prompts import PromptTopic
from tam_ros.ros.inputs.source import InputPort, PromptSource
from tam_ros.ros.lifecycle import ManagedNode, transition
from tam_ros.ros.outputs.labels import CompressedLabels, Labels, Overlay
from tam_ros.ros.outputs.objects import Objects
from tam_ros.ros.outputs.output import Output, Publishers, TrackedImage
from tam_ros.ros.outputs.spatial import Cloud, Frames, Markers
from tam_ros.ros.outputs.vision_msgs_outputs import Detections2D, Detections3D, LabelInfo
from tam_ros.ros.parameters import Parameters, tracker_options, weights_to_open
from tam_ros.ros.shutdown import EndSignals
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.segmentation import Segmenter
from tam_ros.tracking import FrameError, Tracker

SOURCES: tuple[type[PromptSource], ...] = (
    PromptTopic,
    MaskTopic,
    ClickTopics,
    DetectionTopic,
    DetectorSource,
    ObjectServices,
    PreviewService,
)
"""All ways to prompt the node."""

OUTPUTS: tuple[type[Output], ...] = (
    Labels,
    Detections2D,
    LabelInfo,
    # The outputs below use the depth of the image, which may not have arrived yet.
    Objects,
    Detections3D,
    Frames,
    Cloud,
    Markers,
    # For human viewers, who do not notice a few milliseconds.
    Overlay,
    CompressedLabels,
)
"""All topics with results, in the order of publishing."""

ImageMessage: TypeAlias = Image | CompressedImage
OpenTracker: TypeAlias = Callable[..., Tracker]


class TrackNode(ManagedNode):
    """Managed node around one tracker.

    configure opens the model, activate subscribes to the images, deactivate unsubscribes and
    keeps the objects, cleanup closes the model. The executor's thread hands images to the
    inference thread, which tracks them and publishes the results. Requests about objects are
    answered in the inference thread between two images.
    """

    def __init__(
        self,
        open_tracker: OpenTracker = Tracker.open,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Declare the parameters; create publishers, subscriptions and services.

        Args:
            open_tracker: opens the tracker, with the arguments of `Tracker.open`.
            ending: returns whether the process is to end, so that long work must stop; from any
                thread.

        Raises:
            InvalidParameterError: a parameter has a value that cannot be used.
        """
        super().__init__(NODE_NAME)
        # rclpy's Node has attributes `_parameters` and `_publishers`.
        try:
            self._values = NodeParameters(self)
        except InvalidParameterError:
            # Since Kilted, rclpy also destroys nodes that are not complete, when it shuts down.
            super().destroy_node()
            raise
        for warning in unknown_parameter_warnings(self):
            self.get_logger().warning(warning)
        self._open_tracker = open_tracker
        self._ending = ending
        self._inference: InferenceThread[TrackingSession, ImageMessage] | None = None
        self._images: ImageSubscription | None = None
        self._decoder = ImageDecoder()  # until the node is active
        self._stamps = ImageStamps(self.get_logger().warning)
        self._calibration = Calibration(self, self._values)
        self._health = Health(self, self._values)
        self._statistics = self._health.statistics
        self._port = InputPort(self, self._values, self._calibration, self._statistics)
        for source in SOURCES:
            made = source(self._port)
            if isinstance(made, DetectorSource):
                self._health.detector = made.report
        self._depth = DepthViews(self, self._values, self._calibration, self._statistics)
        self._health.depth = self._depth
        self._outputs = Publishers(self, self._values, self._statistics, OUTPUTS)

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at start."""
        return self._values.current.autostart

    # --- lifecycle ---

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model. If it cannot be opened, log the reason and return FAILURE."""
        parameters = self._values.current
        self._health.entered('configuring')
        try:
            self._health.activity(f'opening {parameters.model} with {parameters.runtime}')
            self._inference = InferenceThread(self._open_session, self._track, self._ending)
        except InterruptedOpeningError:
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._health.closed()
            self._health.entered('unconfigured')
            self.get_logger().debug(traceback.format_exc())
            self.get_logger().error(f'cannot open {parameters.model}: {error}')
            return TransitionCallbackReturn.FAILURE
        self._values.lock()
        self._port.attach(self._inference)
        try:
            info = self._health.opened(self._inference)
        except BusyError:
            if self._ending():
                self.release()
                return TransitionCallbackReturn.FAILURE
            raise
        self.get_logger().info(f'opened {", ".join(info.values())}')
        if info['weights'].startswith('untrained'):
            self.get_logger().warning('the weights are untrained: the masks are meaningless')
        self._health.entered('inactive')
        return super().on_configure(state)

    def _open_session(self) -> TrackingSession:
        parameters = self._values.current
        backend: dict[str, Any] = {
            'runtime': parameters.runtime,
            'threads': parameters.threads or None,
            'precision': parameters.precision,
            'engines': EngineOptions(
                build=parameters.build_engines,
                zero_copy=parameters.zero_copy,
                cuda_graphs=parameters.cuda_graphs,
                progress=self._health.building,
                cancelled=self._ending,
            ),
        }
        tracker = self._open_tracker(
            parameters.model,
            weights_to_open(parameters),
            **backend,
            options=tracker_options(parameters),
        )
        try:
            second = self._open_second_model(parameters, backend)
        except BaseException:
            tracker.close()
            raise
        return TrackingSession(
            tracker,
            lambda: self._values.current,
            self._port.refused,
            self._port.log,
            second=second,
        )

    @staticmethod
    def _open_second_model(parameters: Parameters, backend: dict[str, Any]) -> SecondModel | None:
        if not parameters.second_model:
            return None
        weights = weights_to_open(parameters, parameters.segment_weights)
        segmenter = Segmenter.open(parameters.second_model, weights, **backend)
        return SecondModel(
            segmenter,
            segments=bool(parameters.segment_model),
            begins=bool(parameters.prompt_model),
        )

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
        parameters = self._values.current
        wanted = Wanted(
            'image',
            self.resolve_topic_name('image'),
            IMAGES[parameters.image_transport],
            IMAGES,
            'image_transport',
            parameters.qos_reliability,
        )
        # One image here and one in the mailbox of the inference thread, so that the newest image
        # is tracked.
        self._decoder = ImageDecoder(self.get_logger().info, parameters.max_pixels)
        self._stamps = ImageStamps(self.get_logger().warning)
        self._images = ImageSubscription(
            self,
            wanted,
            self._on_image,
            depth=1,
            timeout_s=lambda: self._values.current.image_timeout,
            lost=self._statistics.lost,
            max_pixels=parameters.max_pixels,
        )
        self._health.images = self._images
        self._port.activate()
        self.get_logger().info(f'waiting for images on {self._images.topic}')
        self._health.entered('active')
        self._statistics.expect_images()
        return super().on_activate(state)

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the images; with `keep_objects` false, remove all objects.

        Returns FAILURE if the objects cannot be removed; the node then stays active.
        """
        if not self._values.current.keep_objects:
            answer = self._port.reset()
            if not answer.success:
                self.get_logger().error(
                    f'not deactivated: keep_objects is false, but the objects cannot be removed: '
                    f'{answer.message}'
                )
                return TransitionCallbackReturn.FAILURE
            self.get_logger().info('all objects are removed: keep_objects is false')
        self._unsubscribe()
        self._health.entered('inactive')
        return super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the model."""
        self.release()
        return super().on_cleanup(state)

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the model. On a signal, `destroy_node` does it instead."""
        self.release()
        self._health.entered('finalized')
        return super().on_shutdown(state)

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what a failed transition has left, so that the node can be configured again."""
        self.release()
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def release(self) -> None:
        """Stop the inference thread and close the model. Calling it again does nothing."""
        self._unsubscribe()
        self._health.entered('unconfigured')
        if self._inference is not None:
            if not self._inference.stop():
                self.get_logger().error('the tracker hangs and cannot be closed')
            self._inference = None
            self._values.unlock()
            self._health.closed()
            self._port.detach()

    def destroy_node(self) -> None:
        """Close the model and destroy the node."""
        self.release()
        self._health.stop()
        super().destroy_node()

    def _unsubscribe(self) -> None:
        self._port.deactivate()
        if self._images is not None:
            self._images.close()
            self._images = None

    # --- images ---

    def _on_image(self, message: ImageMessage) -> None:
        stamp = message.header.stamp
        now_ns = self.get_clock().now().nanoseconds
        received_ns = self._stamps.stamp_ns(stamp.sec, stamp.nanosec, now_ns)
        # Where that is the time of arrival, the results get it as well.
        stamp.sec, stamp.nanosec = divmod(received_ns, NANOSECONDS)
        self._port.image_received(received_ns)
        if self._inference is not None:
            dropped = self._inference.submit(message)
            self._statistics.received(self._age_s(received_ns), dropped)

    def _track(self, session: TrackingSession, message: ImageMessage) -> None:
        """Track one image and publish its results; runs in the inference thread."""
        header = message.header
        try:
            with self._statistics.stage('decode'):
                image = self._decoder.message(message)
            self._health.decoded(message, image)
            with self._statistics.stage('track'):
                session.set_options(tracker_options(self._values.current))
                frame = session.step(image, stamp_ns(header))
            with self._statistics.stage('publish'):
                if not self.context.ok():
                    return
                height, width = frame.labels.shape
                self._outputs.publish(
                    TrackedImage(
                        frame,
                        session.names,
                        header,
                        image,
                        lambda: self._depth.of(header, height, width),
                    )
                )
                self._port.add_published(frame, header, image)
        except StaleFrameError as error:
            self._statistics.count('stale_images', str(error))
            self.get_logger().warning(f'image dropped: {error}', throttle_duration_sec=5.0)
        except (ImageFormatError, FrameError) as error:
            self._statistics.count('refused_images', str(error))
            self.get_logger().warning(f'image refused: {error}', throttle_duration_sec=5.0)
        except Exception as error:
            if not self.context.ok():
                return  # the node was shut down during publishing
            self._statistics.failed(f'{type(error).__name__}: {error}')
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        else:
            self._health.tracked(frame.objects)
            self._statistics.stages(frame.stage_seconds)
            self._statistics.tracked(self._age_s(stamp_ns(header)))

    def _age_s(self, stamp_ns: int) -> float:
        return (self.get_clock().now().nanoseconds - stamp_ns) / 1e9


def main(args: list[str] | None = None, open_tracker: OpenTracker = Tracker.open) -> int:
    """Run the node until a signal ends it; return the exit status.

    Args:
        args: with the name of the program; None: those of the process.
        open_tracker: opens the tracker, with the arguments of `Tracker.open`.
    """
    with EndSignals() as signals:
        node = None
        try:
            read_arguments(args)
            init_ros(args)
            node = TrackNode(open_tracker, signals.requested)
            # A request blocks the executor until the current image is tracked, for which the next
            # image has to wait anyway. The executor with several threads would gain nothing and,
            # in Jazzy, sometimes leaves a subscription unserved for more than a second.
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            if not node.autostart:
                node.get_logger().info(
                    f'waiting for a lifecycle manager, since autostart is false: '
                    f'ros2 lifecycle set {node.get_fully_qualified_name()} configure'
                )
            elif not _start(node) and not signals.requested():
                return 1
            signals.spin(executor, node)
            if signals.requested():
                node.get_logger().info(f'{signals.received} received: the node ends')
        except ExternalShutdownException:
            pass
        except InvalidParameterError as error:
            return _refuse(f'{origin_of(error.name, args)}{error}')
        except CommandLineError as error:
            return _refuse(str(error))
        finally:
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()
    return 0


def _refuse(reason: str) -> int:
    print(f'{NODE_NAME}: {reason}', file=sys.stderr)
    return 1


def _start(node: TrackNode) -> bool:
    done = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == done and node.trigger_activate() == done


if __name__ == '__main__':
    sys.exit(main())
