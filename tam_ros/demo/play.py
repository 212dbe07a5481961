# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Plays a clip or a webcam into the tracking node and serves its page: `make play`.

Three processes: a camera that repeats the clip, the node, and page_node, whose address is printed.
Nothing is prompted: that is done on the page. Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import socket
import sys
import tempfile
import time
from pathlib import Path

from tam_ros.catalogue import UnknownModelError, model
from tam_ros.demo.graph import isolate, node_arguments, require_ros
from tam_ros.demo.processes import ChildProcess, DemoError, raise_on_termination, wait_until
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.runtime.backends import RUNTIMES

_START_TIMEOUT = 180.0  # a slow disk reading a large model
_POLL_S = 0.2
_ADDRESS = 'page: open'  # what page_node prints when it listens


def main(arguments: list[str] | None = None) -> int:
    """Play until Ctrl-C; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.video:
            next(iter(open_source(options.video, options.topic)))
        model(options.model)
        require_ros()
        if importlib.util.find_spec('aiohttp') is None:
            raise DemoError('the page needs aiohttp: run `make play`, which installs it')
        raise_on_termination()
        with tempfile.TemporaryDirectory(prefix='tam_ros_play_') as folder:
            isolate(Path(folder))
            _play(options, Path(folder))
    except (SourceError, UnknownModelError, DemoError, OSError) as error:
        print(f'play: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nplay: ended')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tam_ros.demo.play',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--video', help='video, image folder or bag to play; default: the drawn clip'
    )
    source.add_argument('--camera', type=int, help='number of a webcam: 0 is /dev/video0')
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0: phones can connect')
    parser.add_argument('--port', type=int, help='port of the page; default: 8080, or a free one')
    parser.add_argument(
        '--model', default='efficienttam_nano', help='name of a model in the catalogue'
    )
    parser.add_argument('--weights', default='', help="checkpoint file instead of the model's own")
    parser.add_argument('--runtime', default=RUNTIMES[0], choices=RUNTIMES)
    return parser


def _play(options: argparse.Namespace, folder: Path) -> None:
    logs = folder / 'logs'
    with contextlib.ExitStack() as running:

        def start(module: str, arguments: list[str]) -> ChildProcess:
            log = logs / f'{module.rpartition(".")[2]}.log'
            child = ChildProcess(module, arguments, log)
            running.callback(child.stop)
            return child

        node = start('tam_ros.ros.track_node', node_arguments(options))
        camera = start('tam_ros.demo.camera', _camera_arguments(options))
        page = start('tam_ros.page.page_node', _page_arguments(options))
        children = [node, camera, page]
        _wait_until_ready(children)
        log = page.log.read_text()
        print(log[log.index(_ADDRESS) :].rstrip(), flush=True)  # and a QR code, on other addresses
        print('Click an object there, and its mask follows. Ctrl-C ends.', flush=True)
        while True:
            time.sleep(_POLL_S)
            for child in children:
                if child.exit_status() is not None:
                    raise DemoError(f'{child.name} ended:\n{child.log_tail()}')


def _wait_until_ready(children: list[ChildProcess]) -> None:
    # rclpy reads the environment of `isolate` when it is imported.
    from tam_ros.client import TamClient

    print('play: starting the camera, the node and the page', flush=True)
    page = children[-1]
    with TamClient() as client:

        def ready() -> bool:
            with contextlib.suppress(TimeoutError):
                client.wait_for_image(timeout=_POLL_S)
                return _ADDRESS in page.log.read_text()
            return False

        wait_until(ready, _START_TIMEOUT, children, 'waiting for a tracked image')


def _camera_arguments(options: argparse.Namespace) -> list[str]:
    if options.camera is not None:
        return ['--device', str(options.camera)]
    values = {
        '--video': options.video and str(Path(options.video).resolve()),
        '--topic': options.topic,
    }
    given = ((name, value) for name, value in values.items() if value)
    return ['--loop', *itertools.chain.from_iterable(given)]


def _page_arguments(options: argparse.Namespace) -> list[str]:
    port = options.port
    if port is None:
        port = 8080 if _is_free(options.host, 8080) else 0
    return ['--ros-args', '-p', f'host:={options.host}', '-p', f'port:={port}']


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


if __name__ == '__main__':
    sys.exit(main())
