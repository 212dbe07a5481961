# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clicks of visualization tools: ~/click, rqt_image_view, RViz's clicked_point."""

from __future__ import annotations

import time
from collections.abc import Callable

from geometry_msgs.msg import Point, PointStamped

from tam_ros.prompting.clicks import MODES, Clicks
from tam_ros.prompting.session import Action, Answer, TrackingSession
from tam_ros.ros.geometry.points import pixel_of
from tam_ros.ros.inputs.source import PromptSource
from tam_ros.srv import SetClickMode
from tam_ros.tracking import PromptError


class ClickTopics(PromptSource):
    """Turns clicks into prompts on the newest published image."""

    def start(self) -> None:
        """Subscribe to the topics of clicks and offer ~/set_click_mode."""
        self._clicks = Clicks()
        self._transforms = self.port.transforms_for('clicked_point')
        # rqt_image_view publishes clicks on the shown topic with _mouse_left appended.
        for topic in ('~/click', '~/overlay_mouse_left'):
            self.port.subscribe(Point, topic, self._on_click)
        self.port.subscribe(PointStamped, 'clicked_point', self._on_clicked_point)
        self.port.serve(SetClickMode, '~/set_click_mode', self._on_set_click_mode)

    def clear(self) -> None:
        """Select no object."""
        self._clicks.clear()

    def _on_click(self, message: Point) -> None:
        self._click(lambda: (message.x, message.y), 'click')

    def _on_clicked_point(self, message: PointStamped) -> None:
        self._click(
            lambda: pixel_of(
                message, self.port.published.newest, self.port.calibration, self._transforms
            ),
            'clicked point',
        )

    def _click(self, pixel: Callable[[], tuple[float, float]], what: str) -> None:
        """Apply a click and log what it did.

        Args:
            pixel: returns the clicked pixel, or raises PromptError; called in the inference
                thread.
            what: kind of the click, for the log.
        """
        now = time.monotonic()
        answer = self.port.call_in_tracker(lambda session: self._apply(session, pixel, now))
        if answer.success:
            self.port.log(f'{what}: {answer.message}')
        else:
            self.port.refused(f'{what} refused: {answer.message}')

    def _apply(
        self, session: TrackingSession, pixel: Callable[[], tuple[float, float]], now: float
    ) -> Answer:
        """Apply a click; the message of a successful answer says what it did."""
        parameters = self.port.parameters.current
        try:
            request = self._clicks.request(
                pixel(),
                self.port.published,
                session.tracked,
                parameters.click_mode,
                parameters.click_window,
                now,
            )
        except PromptError as error:
            return Answer(False, 0, str(error))
        if isinstance(request, int):
            self._clicks.select(request, now)
            return Answer(True, request, f'object {request} is selected')
        answer = session.submit_prompt(request, self.port.newest_received_ns)
        if not answer.success:
            return answer
        self._clicks.select(answer.object_id, now)
        if request.action is Action.ADD:
            done = 'is added'
        else:
            done = 'includes this point' if request.point_labels[0] else 'excludes this point'
        return answer._replace(message=f'object {answer.object_id} {done}')

    def _on_set_click_mode(
        self, request: SetClickMode.Request, response: SetClickMode.Response
    ) -> None:
        known = not request.mode or request.mode in MODES
        wanted = request.object_id if known else 0
        answer = self.port.call_in_tracker(
            lambda session: self._select(session, wanted), also_inactive=True
        )
        if not known:
            reason = f'unknown mode {request.mode!r}; one of {", ".join(MODES)}'
            answer = Answer(False, answer.object_id, reason)
        elif answer.success and request.mode:
            self.port.set_parameter('click_mode', request.mode)
        response.success, response.object_id, response.message = answer
        response.mode = self.port.parameters.current.click_mode

    def _select(self, session: TrackingSession, object_id: int) -> Answer:
        """Select an object, 0 for none; the answer contains the selected object."""
        tracked = session.tracked
        if object_id and object_id not in tracked:
            selected = self._clicks.selected(tracked)
            return Answer(False, selected, f'no object {object_id}; {session.list_tracked()}')
        if object_id:
            self._clicks.select(object_id)
        return Answer(True, self._clicks.selected(tracked), '')
