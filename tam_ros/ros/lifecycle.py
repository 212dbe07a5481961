# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What rclpy leaves open in a managed node."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Step = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def transition(step: Step) -> Step:
    """Decorate a transition's callback so that an exception in it is logged.

    rclpy makes an ERROR of it without a word.
    """

    @functools.wraps(step)
    def logged(node: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return step(node, state)
        except Exception:
            node.get_logger().error(f'{step.__name__} failed:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR

    return logged


class ManagedNode(LifecycleNode):
    """A managed node that answers also those who ask for a transition that is not possible.

    In rclpy the exception about it ends the process, tracks and all.
    """

    def __init__(self, name: str) -> None:
        """Make the node and its lifecycle services."""
        super().__init__(name)
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._on_change_state

    def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        state = self._state_machine.current_state[1]
        try:
            return self._change_state(request, response)
        except Exception as error:
            wanted = request.transition.label or request.transition.id
            self.get_logger().error(
                f'transition {wanted} is not possible in the state {state!r}: {error}'
            )
            response.success = False
            return response
