# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A managed node that fixes two weaknesses of rclpy's."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

TransitionCallback = Callable[[Any, LifecycleState], TransitionCallbackReturn]

_REACHED = {
    'on_configure': 'inactive',
    'on_activate': 'active',
    'on_deactivate': 'inactive',
    'on_cleanup': 'unconfigured',
    'on_shutdown': 'finalized',
    'on_error': 'unconfigured',
}
"""The state that each callback leads to if it succeeds."""


def transition(callback: TransitionCallback) -> TransitionCallback:
    """Decorate the callback of a transition so that the transition and an exception are logged.

    rclpy turns the exception into ERROR and does not log it.
    """

    @functools.wraps(callback)
    def logged(node: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = callback(node, state)
        except Exception:
            node.get_logger().error(f'{callback.__name__} failed:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        if result == TransitionCallbackReturn.SUCCESS:
            node.get_logger().info(f'lifecycle: {state.label} -> {_REACHED[callback.__name__]}')
        else:
            node.get_logger().info(f'lifecycle: it stays {state.label}')
        return result

    return logged


class ManagedNode(LifecycleNode):
    """A managed node that refuses requests for impossible transitions.

    In rclpy, the exception that such a request raises ends the process.
    """

    def __init__(self, name: str) -> None:
        """Create the node and its lifecycle services."""
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
