# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Requests of browsers, passed to the services of one tracking node."""

from __future__ import annotations

import threading

from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from std_srvs.srv import Trigger

from tam_ros.client.connection import Connection
from tam_ros.client.results import make_prompt, to_time
from tam_ros.msg import Prompt as PromptMessage
from tam_ros.page.history import PromptHistory, Removal, Step, UndoError
from tam_ros.page.protocol import Prompt, Remove, RemoveAll, Rename, Request, Undo
from tam_ros.page.store import Answer
from tam_ros.srv import AddPrompt, RemoveObject

TIMEOUT_S = 10.0
"""Seconds after which a request has failed."""


class TrackerRequests(Connection):
    """Calls the services of a node; the answers have its words."""

    def __init__(self, name: str, node: Node) -> None:
        """Create the clients.

        Args:
            name: full name of the tracking node.
            node: node to call with, which another thread spins.
        """
        super().__init__(name, node, TIMEOUT_S)
        self._history = PromptHistory()
        # Requests of all browsers, one after the other: an undo consists of several.
        self._one_at_a_time = threading.Lock()
        self._start(
            {
                'add_prompt': AddPrompt,
                'remove_object': RemoveObject,
                'reset': Trigger,
                'get_state': GetState,
            }
        )

    def answer(self, browser: int, request: Request) -> Answer:
        """Do what a browser requests, and return the answer; blocks.

        Args:
            browser: number of the browser.
            request: its request.
        """
        try:
            with self._one_at_a_time:
                return self._do(browser, request)
        except (TimeoutError, UndoError) as error:
            return Answer(False, str(error))

    def _do(self, browser: int, request: Request) -> Answer:
        if isinstance(request, Prompt):
            return self._prompt(browser, request)
        if isinstance(request, Remove):
            return self._remove(request.object_id)
        if isinstance(request, Undo):
            return self._undo(browser)
        if isinstance(request, Rename):
            message = make_prompt(PromptMessage.REFINE, request.object_id, name=request.name)
            return self._submit(message)
        assert isinstance(request, RemoveAll)
        answer = self.call(Trigger, 'reset', Trigger.Request())
        if answer.success:
            self._history.clear()
        return Answer(answer.success, answer.message)

    def _prompt(self, browser: int, prompt: Prompt) -> Answer:
        action = PromptMessage.REFINE if prompt.object_id else PromptMessage.ADD
        step = Step(prompt.stamp_ns, prompt.points, prompt.box)
        answer = self._submit(_message(action, prompt.object_id, step, prompt.name))
        if answer.success:
            self._history.accepted(browser, prompt, answer.object_id)
        return answer

    def _remove(self, object_id: int) -> Answer:
        request = RemoveObject.Request(object_id=object_id)
        answer = self.call(RemoveObject, 'remove_object', request)
        if answer.success:
            self._history.removed(object_id)
        return Answer(answer.success, answer.message, object_id)

    def _undo(self, browser: int) -> Answer:
        way = self._history.undo(browser)
        if isinstance(way, Removal):
            return self._remove(way.object_id)
        answer = Answer(True)
        for number, step in enumerate(way.steps):
            action = PromptMessage.REFINE if number else PromptMessage.REPLACE
            answer = self._submit(_message(action, way.object_id, step))
            if not answer.success:
                return answer
        self._history.undone(browser)
        return answer

    def _submit(self, message: PromptMessage) -> Answer:
        answer = self.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=message))
        return Answer(answer.success, answer.message, int(answer.object_id))


def _message(action: int, object_id: int, step: Step, name: str = '') -> PromptMessage:
    positions = [(x, y) for x, y, _ in step.points]
    labels = [label for _, _, label in step.points]
    message = make_prompt(action, object_id, positions, labels, step.box, name=name)
    message.header.stamp = to_time(step.stamp_ns)
    return message
