# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A connection to a node: its services, subscriptions, and waiting with timeouts."""

from __future__ import annotations

import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.task import Future

from tam_ros.closing import Closing

_T = TypeVar('_T')

_POLL_S = 0.1  # interval of polling for what ROS does not notify: discovery, the end of a context
_REPEAT_S = 0.5  # until a request that may not have reached the node is repeated; then doubled


class Connection(Closing):
    """Calls a node's services and waits for its messages, on a ROS node of its own or a given one.

    A subclass creates its subscriptions and then calls `_start`.

    Attributes:
        node: the rclpy node of this client, for further publishers and subscriptions.
        name: full name of the node to which it connects.
        timeout: default for the methods, seconds.
    """

    def __init__(self, name: str, node: Node | None, timeout: float) -> None:
        """Create or adopt the node; nothing is received before `_start`.

        Args:
            name: name of the node to which it connects, with its namespace.
            node: a node that the caller spins; None: the connection creates and spins its own.
            timeout: default for the methods, seconds.
        """
        self.timeout = timeout
        self._changed = threading.Condition()  # notified of each message and each answer
        self._context: rclpy.Context | None = None
        self._executor: SingleThreadedExecutor | None = None
        self._thread: threading.Thread | None = None
        self.node = self._own_node() if node is None else node
        self.name: str = self.node.resolve_topic_name(name)
        # The caller's executor may serve this group while one of its callbacks waits for it.
        self._group = ReentrantCallbackGroup()
        self._subscriptions: list[Subscription] = []
        self._clients: dict[str, Client] = {}
        self._reachable: set[Client] = set()  # clients that the node has discovered

    def _start(self, services: Mapping[str, type]) -> None:
        """Create the clients that are discovered together, and spin the connection's own node.

        Args:
            services: types by name below the node's, see `_wait_until_reachable`.
        """
        for service, kind in services.items():
            self._client(kind, service)
        if self._executor is not None:
            self._executor.add_node(self.node)
            self._thread = threading.Thread(target=self._spin, name='tam_client', daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Release the subscriptions and clients, and the node if it is the connection's own."""
        if self._executor is None or self._thread is None:
            for subscription in self._subscriptions:
                self.node.destroy_subscription(subscription)
            for client in self._clients.values():
                self.node.destroy_client(client)
        else:
            self._executor.shutdown()
            self._thread.join()
            self.node.destroy_node()
        if self._context is not None:
            self._context.try_shutdown()

    # --- services ---

    def call(self, kind: type, service: str, request: Any, timeout: float | None = None) -> Any:
        """Call any service and return its answer, even if it reports a failure.

        Args:
            kind: type of the service.
            service: a name below the node's, such as `set_parameters`, or a full name.
            request: a request of that type.
            timeout: seconds, for the service to appear and to answer; None: the client's.

        Raises:
            TimeoutError: no such service, or no answer.
        """
        deadline = self._deadline(timeout)
        client = self._client(kind, service)
        self._wait_for_service(client, timeout)
        future = self._send(client, request)
        try:
            left = deadline - time.monotonic()
            self._wait(f'the answer of {client.srv_name}', future.done, left)
        except BaseException:
            client.remove_pending_request(future)
            raise
        return future.result()

    def call_async(
        self, kind: type, service: str, request: Any, timeout: float | None = None
    ) -> Future:
        """Call any service and do not wait for the answer.

        Waits until the service can be called: a request before that would be lost.

        Args:
            kind: type of the service.
            service: a name below the node's, or a full name.
            request: a request of that type.
            timeout: seconds, for the service to appear; None: the client's.

        Returns:
            The future of the answer.

        Raises:
            TimeoutError: no such service.
        """
        client = self._client(kind, service)
        self._wait_for_service(client, timeout)
        return self._send(client, request)

    def _wait_for_service(self, client: Client, timeout: float | None) -> None:
        """Wait until a service can be called and its answer will be received."""
        deadline = self._deadline(timeout)
        if not client.service_is_ready():
            self._reachable.discard(client)  # the node may have been restarted
            self._wait(f'the service {client.srv_name}', client.service_is_ready, timeout)
        if client not in self._reachable and client.srv_name.startswith(f'{self.name}/'):
            self._wait_until_reachable(deadline - time.monotonic())

    def _wait_until_reachable(self, timeout: float) -> None:
        """Wait until the node has discovered the clients that exist now.

        `service_is_ready` says that this side has discovered the node. The node answers 100 ms
        later at most, and drops the answer if it has not discovered this side by then
        (rmw_fastrtps, `rmw_response.cpp`), as happens on busy computers. Endpoints of one
        participant are discovered in the order of their creation: an answer to a newer client
        shows that the older ones are known. The state may be requested repeatedly.
        """
        deadline = self._deadline(timeout)
        clients = set(self._clients.values())
        probe = self.node.create_client(
            GetState, f'{self.name}/get_state', callback_group=self._group
        )
        answers: list[Future] = []

        def answered() -> bool:
            return any(answer.done() for answer in answers)

        try:
            self._wait(f'the service {probe.srv_name}', probe.service_is_ready, timeout)
            interval = _REPEAT_S
            while not answered():
                answers.append(self._send(probe, GetState.Request()))
                left = deadline - time.monotonic()
                if not self._wait_for(answered, min(interval, left)) and left <= interval:
                    raise TimeoutError(
                        f'waited {timeout:.1f} s for {self.name} to answer{self._explain()}'
                    )
                interval *= 2
        finally:
            self.node.destroy_client(probe)
        self._reachable |= clients

    def _client(self, kind: type, service: str) -> Client:
        with self._changed:
            if service not in self._clients:
                full_name = service if service.startswith('/') else f'{self.name}/{service}'
                self._clients[service] = self.node.create_client(
                    kind,
                    full_name,
                    qos_profile=QoSProfile(depth=100),  # answers to many calls at once
                    callback_group=self._group,
                )
            return self._clients[service]

    def _send(self, client: Client, request: Any) -> Future:
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._notify())
        return future

    # --- received messages ---

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], None], depth: int = 10
    ) -> Subscription:
        subscription = self.node.create_subscription(
            kind, topic, callback, QoSProfile(depth=depth), callback_group=self._group
        )
        self._subscriptions.append(subscription)
        return subscription

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # --- waiting ---

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def _wait(self, what: str, condition: Callable[[], _T | None], timeout: float | None) -> _T:
        """Wait until `condition` returns something true, and return that."""
        timeout = self.timeout if timeout is None else timeout
        if value := self._wait_for(condition, timeout):
            return value
        raise TimeoutError(f'waited {max(0.0, timeout):.1f} s for {what}{self._explain()}')

    def _wait_for(self, condition: Callable[[], _T | None], timeout: float) -> _T | None:
        """Wait until `condition` returns something true and return that, or None."""
        deadline = time.monotonic() + timeout
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of the client's own node must not wait for the client")
        with self._changed:
            while not (value := condition()):
                if not self.node.context.ok():
                    raise RuntimeError('rclpy was shut down while the client waited')
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _POLL_S))
        return value

    def _explain(self) -> str:
        """Describe what is known about the node, as the end of the message about a timeout."""
        if self._thread is None and self.node.executor is None:
            return ': no executor spins the node that was passed to the client'
        if self._thread is not None and not self._thread.is_alive():
            return ': the thread of the client has ended; see the exception that it printed'
        namespace, _, name = self.name.rpartition('/')
        if (name, namespace or '/') not in self.node.get_node_names_and_namespaces():
            domain = os.environ.get('ROS_DOMAIN_ID', '0')
            return f': no node {self.name} is running (ROS_DOMAIN_ID {domain})'
        return f': {self._describe_node()}'

    def _describe_node(self) -> str:
        """Describe what a node that is running does."""
        return f'{self.name} is running'

    # --- the connection's own node ---

    def _own_node(self) -> Node:
        """Create a node, in the context of the script if it has initialised rclpy."""
        context = rclpy.get_default_context()
        if not context.ok():
            # A separate context leaves signal handlers alone and rclpy.init() to the script.
            context = self._context = rclpy.Context()
            rclpy.init(context=context)
        self._executor = SingleThreadedExecutor(context=context)
        return Node(f'tam_client_{uuid.uuid4().hex[:8]}', context=context)

    def _spin(self) -> None:
        assert self._executor is not None
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass  # the script shut rclpy down
        except Exception:
            traceback.print_exc()
