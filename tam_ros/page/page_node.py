# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that serves the page: `ros2 run tam_ros page_node`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import ipaddress
import os
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields

import rclpy
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from tam_ros.page.access import Access, is_loopback
from tam_ros.page.ros_source import RosSource
from tam_ros.page.settings import PageSettings, SettingsError
from tam_ros.ros.command_line import CommandLineError, init_ros
from tam_ros.ros.shutdown import EndSignals

NODE_NAME = 'page_node'
_STOP_S = 5.0


class ServerThread:
    """Runs the server in an event loop of its own."""

    def __init__(self, settings: PageSettings, access: Access, source: RosSource) -> None:
        """Start listening.

        Args:
            settings: the parameters.
            access: who may use the page.
            source: the side of ROS.

        Raises:
            OSError: the address cannot be used, or a file of the certificate.
        """
        from tam_ros.page.server import PageServer  # needs aiohttp

        self._loop = asyncio.new_event_loop()
        self._server = PageServer(settings, access, source)
        self._thread = threading.Thread(target=self._loop.run_forever, name='page', daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    def stop(self) -> None:
        """Close all connections and end the thread."""
        stopping = asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            stopping.result(_STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)


def read_settings(node: Node) -> PageSettings:
    """Declare the parameters and return their values.

    Raises:
        SettingsError: a value cannot be used.
    """
    values = {}
    for row in fields(PageSettings):
        limits = row.metadata['limits']
        descriptor = ParameterDescriptor(description=row.metadata['about'], read_only=True)
        if limits:
            descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1])]
        default = getattr(PageSettings(), row.name)
        try:
            values[row.name] = node.declare_parameter(row.name, default, descriptor).value
        except Exception as error:  # of several kinds, for a wrong type or range
            raise SettingsError(f'{row.name}: {" ".join(str(error).split())}') from None
    settings = PageSettings(**values)
    settings.check()
    return settings


def addresses(settings: PageSettings, port: int, token: str) -> list[str]:
    """Return the addresses to open, the best for another device first."""
    scheme = 'https' if settings.certificate else 'http'
    query = f'?token={token}' if token else ''
    return [f'{scheme}://{_bracketed(host)}:{port}/{query}' for host in _reachable(settings.host)]


def _reachable(host: str) -> list[str]:
    try:
        every = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        every = False
    if not every:
        return [host]
    # The address of the interface towards other networks. Nothing is sent.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))
            return [probe.getsockname()[0]]
        except OSError:
            return [socket.gethostname()]


def _bracketed(host: str) -> str:
    return f'[{host}]' if ':' in host else host


def announce(settings: PageSettings, port: int, token: str) -> None:
    """Print the address, with a QR code for phones.

    Not in the log: that is published on /rosout and written to files, and the address may contain
    the token.
    """
    (address,) = addresses(settings, port, token)
    print(f'page: open {address}', flush=True)
    if is_loopback(settings.host):
        print('page: only this computer can open it; host:=0.0.0.0 lets others', flush=True)
        return
    if importlib.util.find_spec('segno') is None:
        print('page: no QR code: python3 -m pip install segno', flush=True)
        return
    import segno

    segno.make(address, error='l').terminal(compact=True)
    sys.stdout.flush()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status.

    Args:
        args: with the name of the program; None: those of the process.
    """
    if importlib.util.find_spec('aiohttp') is None:
        return _refuse('the page needs aiohttp: python3 -m pip install "aiohttp>=3.14,<4" segno')
    with EndSignals() as signals:
        node: Node | None = None
        try:
            init_ros(list(sys.argv if args is None else args))
            if unknown := remove_ros_args(args)[1:]:
                return _refuse(
                    f'unknown argument {unknown[0]}: parameters (-p port:=8080) follow --ros-args'
                )
            node = Node(NODE_NAME)
            settings = read_settings(node)
            access = Access(
                settings.host,
                settings.token,
                bool(settings.certificate),
                [name for name in settings.host_names if name],
            )
            _serve(node, settings, access, signals)
        except ExternalShutdownException:
            pass
        except (SettingsError, CommandLineError) as error:
            return _refuse(str(error))
        finally:
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()
    return 0


def _serve(node: Node, settings: PageSettings, access: Access, signals: EndSignals) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    source = RosSource(node, executor, settings)
    try:
        server = ServerThread(settings, access, source)
    except ssl.SSLError as error:
        raise SettingsError(f'certificate and key cannot be used: {error}') from None
    except OSError as error:
        # asyncio writes more than that into `strerror`; a name that is not found has no errno.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else str(error)
        raise SettingsError(
            f'cannot listen on {settings.host}:{settings.port}: {reason}'
        ) from None
    try:
        announce(settings, server.port, access.token)
        signals.spin(executor, node)
    finally:
        server.stop()
        source.close()


def _refuse(reason: str) -> int:
    print(f'{NODE_NAME}: {reason}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
