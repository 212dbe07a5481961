# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every way to tell the node what to follow: topics of the tools people have open, services."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.io.encodings import ImageFormatError
from tam_ros.msg import Prompt
from tam_ros.prompting.clicks import MODES, Clicks
from tam_ros.prompting.detections import Detection, DetectionRules, Detections
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.ros.calibration import Calibration
from tam_ros.ros.conversions import image_to_labels, stamp_ns
from tam_ros.ros.detections import Detection2DArray, read_detections
from tam_ros.ros.points import pixel_of
from tam_ros.ros.prompts import read_prompt
from tam_ros.ros.session import Answer, Session
from tam_ros.ros.transforms import Transforms
from tam_ros.srv import AddPrompt, RemoveObject, SetClickMode
from tam_ros.tracking import FrameResult, PromptError

if TYPE_CHECKING:
    from tam_ros.ros.node import TrackNode

# Clicks are rare and none may be lost.
PROMPT_QOS = QoSProfile(depth=20)
# Requests wait while an image takes long. Of more than the usual ten the oldest would be lost, and
# who sent it would wait for ever.
SERVICE_QOS = QoSProfile(depth=200)
# Detectors publish either way, and another message comes soon.
DETECTION_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Inputs:
    """The node's prompt topics and services.

    What is shown, what is selected and what was detected belong to the inference thread, in which
    all questions are answered; messages are read in the executor's.
    """

    def __init__(self, node: TrackNode, calibration: Calibration) -> None:
        """Create the subscriptions and services.

        Args:
            node: its parameters are declared.
            calibration: of the camera.
        """
        self._node = node
        self._calibration = calibration
        self._transforms = Transforms(node, 'clicked_point')
        self._images = PublishedImages()
        self._clicks = Clicks()
        self._detections = Detections()
        self._matching: Future | None = None

        node.create_subscription(Prompt, '~/prompt', self._on_prompt, PROMPT_QOS)
        node.create_subscription(Image, '~/mask_prompt', self._on_mask_prompt, PROMPT_QOS)
        # rqt_image_view adds _mouse_left to the topic it shows; the overlay is shown, too.
        for topic in ('~/click', '~/overlay_mouse_left'):
            node.create_subscription(Point, topic, self._on_click, PROMPT_QOS)
        node.create_subscription(PointStamped, 'clicked_point', self._on_clicked_point, PROMPT_QOS)
        if Detection2DArray is None:
            node.get_logger().info('vision_msgs is not installed: ~/detections is not heard')
        else:
            node.create_subscription(
                Detection2DArray, '~/detections', self._on_detections, DETECTION_QOS
            )
        for kind, name, answer in (
            (AddPrompt, '~/add_prompt', self._on_add_prompt),
            (RemoveObject, '~/remove_object', self._on_remove_object),
            (Trigger, '~/reset', self._on_reset),
            (SetClickMode, '~/set_click_mode', self._on_set_click_mode),
        ):
            node.create_service(kind, name, answer, qos_profile=SERVICE_QOS)

    def published(self, frame: FrameResult, header: Header) -> None:
        """Take note of what was shown of an image; in the inference thread."""
        keep_s = self._value('prompt_history_seconds')
        self._images.add(frame, stamp_ns(header), header.frame_id, keep_s)

    def forget(self) -> None:
        """Forget what was shown, selected and detected: no object is followed any more."""
        self._images.clear()
        self._clicks.clear()
        self._detections.clear()

    # --- prompts with a header ---

    def _on_prompt(self, message: Prompt) -> None:
        answer = self._add(message)
        if not answer.success:
            self._say(f'prompt for object {message.object_id} refused: {answer.message}')

    def _on_add_prompt(
        self, request: AddPrompt.Request, response: AddPrompt.Response
    ) -> AddPrompt.Response:
        response.success, response.object_id, response.message = self._add(request.prompt)
        return self._answered(response)

    def _add(self, message: Prompt) -> Answer:
        # Read here, not in the inference thread: a prompt may be large.
        try:
            request = read_prompt(message)
        except PromptError as error:
            return Answer(False, message.object_id, str(error))
        return self._node.ask(lambda session: session.ask(request, self._node.received_ns))

    def _on_mask_prompt(self, message: Image) -> None:
        """Add an object for each value above 0 of a label image."""
        try:
            labels = image_to_labels(message)
        except ImageFormatError as error:
            self._say(f'mask prompt refused: {error}')
            return
        values = np.unique(labels[labels > 0])
        limit = self._value('max_objects')
        if not len(values) or len(values) > limit:
            wrong = (
                f'it has {len(values)} values, more than max_objects, {limit}: each is an object'
                if len(values)
                else 'nothing in it is above 0: mark each object with a number'
            )
            self._say(f'mask prompt refused: {wrong}')
            return
        stamp = stamp_ns(message.header)
        for value in values:
            request = PromptRequest(Action.ADD, stamp_ns=stamp, mask=labels == value)
            answer = self._node.ask(
                lambda session, request=request: session.ask(request, self._node.received_ns)
            )
            if answer.success:
                self._log(f'mask prompt: value {value} is object {answer.object_id}')
            else:
                self._say(f'mask prompt, value {value} refused: {answer.message}')

    # --- clicks ---

    def _on_click(self, message: Point) -> None:
        self._click(lambda: (message.x, message.y), 'click')

    def _on_clicked_point(self, message: PointStamped) -> None:
        self._click(
            lambda: pixel_of(message, self._images.newest, self._calibration, self._transforms),
            'clicked point',
        )

    def _click(self, place: Callable[[], tuple[float, float]], what: str) -> None:
        now = time.monotonic()
        answer = self._node.ask(lambda session: self._answer_click(session, place, now))
        if answer.success:
            self._log(f'{what}: {answer.message}')
        else:
            self._say(f'{what} refused: {answer.message}')

    def _answer_click(
        self, session: Session, place: Callable[[], tuple[float, float]], now: float
    ) -> Answer:
        """Do what a click asks for; the reason of an accepted answer says what that was."""
        mode, window = self._value('click_mode'), self._value('click_window')
        try:
            xy = place()
            request = self._clicks.request(xy, self._images, session.followed, mode, window, now)
        except PromptError as error:
            return Answer(False, 0, str(error))
        if isinstance(request, int):
            self._clicks.select(request, now)
            return Answer(True, request, f'object {request} is selected')
        answer = session.ask(request, self._node.received_ns)
        if not answer.success:
            return answer
        self._clicks.select(answer.object_id, now)
        done = (
            'is added'
            if request.action is Action.ADD
            else ('has this point' if request.point_labels[0] else 'does not have this point')
        )
        return answer._replace(message=f'object {answer.object_id} {done}')

    def _on_set_click_mode(
        self, request: SetClickMode.Request, response: SetClickMode.Response
    ) -> SetClickMode.Response:
        known = not request.mode or request.mode in MODES
        wanted = request.object_id if known else 0
        answer = self._node.ask(lambda session: self._select(session, wanted))
        if not known:
            reason = f'no mode {request.mode!r}; one of {", ".join(MODES)}'
            answer = Answer(False, answer.object_id, reason)
        elif answer.success and request.mode:
            self._node.set_parameters([Parameter('click_mode', value=request.mode)])
        response.success, response.object_id, response.message = answer
        response.mode = self._value('click_mode')
        return self._answered(response)

    def _select(self, session: Session, object_id: int) -> Answer:
        followed = session.followed
        if object_id and object_id not in followed:
            known = ', '.join(map(str, sorted(followed))) or 'none'
            selected = self._clicks.selected(followed)
            return Answer(False, selected, f'no object {object_id}; followed are: {known}')
        if object_id:
            self._clicks.select(object_id)
        return Answer(True, self._clicks.selected(followed), '')

    # --- detections ---

    def _on_detections(self, message: Any) -> None:
        if not (self._images and self._node.listening):
            return  # a detector that runs although nothing is tracked is no mistake
        found = read_detections(message)
        usable = [one for one in found if one.usable]
        if len(usable) < len(found):
            self._say(
                f'{len(found) - len(usable)} of {len(found)} detections refused: the box is empty '
                f'or not finite'
            )
        stamp = stamp_ns(message.header)
        if self._matching is not None:
            self._matching.cancel()  # where it has not begun, only the newest counts
        self._matching = self._node.tell(lambda session: self._match(session, usable, stamp))

    def _match(self, session: Session, found: list[Detection], stamp: int) -> None:
        if not self._images:
            return  # forgotten in the meantime
        scene, limit = self._images.at(stamp), self._value('max_objects')
        for request in self._detections.requests(
            found, stamp, scene, session.followed, session.names, self._rules()
        ):
            if request.action is Action.ADD and len(session.followed) >= limit:
                self._crowded(limit)
                continue
            answer = session.ask(request, self._node.received_ns)
            self._detections.prompted(request, answer.object_id if answer.success else 0)
            if answer.success:
                verb = 'begins anew' if request.action is Action.REPLACE else 'is added'
                self._log(f'detection: object {answer.object_id} ({request.name}) {verb}')
            else:
                self._say(f'detection refused: {answer.message}')

    def _crowded(self, limit: int) -> None:
        """Say that there is no room, seldom: the detector will ask again with every message."""
        text = f'detections: {limit} objects are followed, the limit: raise max_objects'
        self._node.refused(text, log=False)
        self._node.get_logger().warning(text, throttle_duration_sec=60.0)

    def _rules(self) -> DetectionRules:
        classes = (name.strip() for name in self._value('detection_classes').split(','))
        return DetectionRules(
            classes=frozenset(name for name in classes if name),
            min_score=self._value('detection_min_score'),
            box_iou=self._value('detection_box_iou'),
            mask_iou=self._value('detection_mask_iou'),
            confirm=self._value('detection_confirm'),
            cooldown=self._value('detection_cooldown'),
            reprompt=self._value('detection_reprompt'),
        )

    # --- the rest ---

    def _on_remove_object(
        self, request: RemoveObject.Request, response: RemoveObject.Response
    ) -> RemoveObject.Response:
        answer = self._node.ask(lambda session: session.remove(request.object_id))
        response.success, response.message = answer.success, answer.message
        return self._answered(response)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = self._node.ask(self.reset)
        response.success, response.message = answer.success, answer.message
        return self._answered(response)

    def reset(self, session: Session) -> Answer:
        """Forget every object and what was prompted; in the inference thread."""
        self.forget()
        return session.reset()

    def _answered(self, response: Any) -> Any:
        if not response.success:
            self._node.refused(response.message, log=False)
        return response

    def _say(self, text: str) -> None:
        self._node.refused(text, log=True)

    def _log(self, text: str) -> None:
        self._node.get_logger().info(text)

    def _value(self, name: str) -> Any:
        return self._node.get_parameter(name).value
