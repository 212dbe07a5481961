# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the page costs: ages of its pictures, processor time, memory.

    python -m benchmark.page [--doc docs/page.md]
    python -m benchmark.page --seconds 5 --churn 20    # a quick look

A camera with 30 images per second, the real node with the network of `benchmark.stand_in`, and
page_node, on two cores. The browsers are WebSockets in this process, which acknowledge each
picture when they have received it; an age is that of the image at that moment, by its stamp. With
Chromium one more row has the ages at the moment when a picture has been drawn. For `--churn`,
browsers come and go.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from benchmark import graph
from benchmark.document import publish, table
from tam_ros.demo.processes import ChildProcess
from tam_ros.evaluation.timing import machine
from tam_ros.page.protocol import unpack_frame
from tam_ros.process_usage import processor_seconds, resident_bytes

SIZES = ((480, 640), (720, 1280))  # rows, columns
BROWSERS = (0, 1, 2, 5)
RATE_HZ = 30.0
MODEL_MS = 20.0
WARM_UP_S = 3.0
CHROMIUM = '/usr/bin/chromium'

# Notes the age of each picture at the first frame of the screen after it was acknowledged.
_NOTE_AGES = """
window.ages = [];
const stamps = new Map();
const Native = window.WebSocket;
window.WebSocket = class extends Native {
  constructor(...all) {
    super(...all);
    this.addEventListener('message', ({ data }) => {
      if (typeof data === 'string') return;
      const length = new DataView(data).getUint32(0);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      stamps.set(header.frame, Number(BigInt(header.stamp) / 1000n) / 1000);
    });
  }
  send(text) {
    const fields = JSON.parse(text);
    if (fields.type === 'ack') {
      const stamp = stamps.get(fields.frame);
      stamps.delete(fields.frame);
      requestAnimationFrame(() => requestAnimationFrame(
        () => window.ages.push(performance.timeOrigin + performance.now() - stamp)));
    }
    super.send(text);
  }
};
"""


@dataclass(frozen=True)
class Measurement:
    """One row.

    Attributes:
        ages_ms: of the pictures, over all browsers, milliseconds.
        shown_hz: pictures per second of each browser.
        tracked_hz: images per second that the node tracks.
        page_cpu: cores that page_node uses.
        node_cpu: cores that the tracking node uses.
        megabytes_s: sent to each browser per second.
    """

    ages_ms: np.ndarray
    shown_hz: float
    tracked_hz: float
    page_cpu: float
    node_cpu: float
    megabytes_s: float

    def row(self) -> list[str]:
        """Return the cells of the table."""
        ages = ['', '']
        if len(self.ages_ms):
            ages = [f'{value:.0f}' for value in np.percentile(self.ages_ms, (50, 95))]
        shown = f'{self.shown_hz:.1f}' if len(self.ages_ms) else ''
        return [
            *ages,
            shown,
            f'{self.tracked_hz:.1f}',
            f'{100 * self.page_cpu:.0f}',
            f'{100 * self.node_cpu:.0f}',
            f'{self.megabytes_s:.1f}' if self.megabytes_s else '',
        ]


class Watchers:
    """Browsers without a screen, in a thread of their own."""

    def __init__(self, address: str, count: int) -> None:
        """Connect."""
        self.ages_ms: list[float] = []
        self.bytes = 0
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks = [
            asyncio.run_coroutine_threadsafe(self._watch(), self._loop) for _ in range(count)
        ]

    async def _watch(self) -> None:
        origin = self._address.rstrip('/')
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f'{origin}/socket', headers={'Origin': origin}) as socket,
        ):
            await socket.send_json({'type': 'watch', 'camera': graph.NODE})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    header, _, _ = unpack_frame(message.data)
                    self.ages_ms.append((time.time_ns() - int(header['stamp'])) / 1e6)
                    self.bytes += len(message.data)
                    await socket.send_json({'type': 'ack', 'frame': header['frame']})
                elif message.type is aiohttp.WSMsgType.TEXT and 'cameras' in message.data:
                    await socket.send_json({'type': 'watch', 'camera': ''})
                    await socket.send_json({'type': 'watch', 'camera': graph.NODE})

    def close(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@dataclass
class Running:
    """The processes that are measured."""

    node: ChildProcess
    page: ChildProcess
    address: str
    results: list[int]


@contextlib.contextmanager
def robot(size: tuple[int, int]) -> Iterator[Running]:
    """Run camera, node and page; one object is tracked."""
    from tam_ros.client import TamClient
    from tam_ros.msg import TrackedObjectArray

    graph.set_model_cost(MODEL_MS)
    arguments = graph.node_arguments(resize='opencv')
    page = ['tam_ros.page.page_node', '--ros-args', '-p', 'port:=0']
    commands = (['benchmark.stand_in', *arguments], page, graph.camera_command(size, RATE_HZ))
    with graph.processes(*commands) as children, TamClient(timeout=60) as client:
        results: list[int] = []
        client.node.create_subscription(
            TrackedObjectArray, f'{graph.NODE}/objects', lambda message: results.append(1), 10
        )
        graph.wait_for('results', lambda: results, 90, children)
        client.add_point(size[1] / 2, size[0] / 2)
        pattern = re.compile(r'page: open (\S+)')
        graph.wait_for(
            'the page', lambda: pattern.search(children[1].log.read_text()), 60, children
        )
        found = pattern.search(children[1].log.read_text())
        assert found is not None
        yield Running(children[0], children[1], found[1], results)


def measure(running: Running, browsers: int, seconds: float) -> Measurement:
    """Measure with so many browsers."""
    watchers = Watchers(running.address, browsers)
    try:
        time.sleep(WARM_UP_S)
        first, sent, tracked = len(watchers.ages_ms), watchers.bytes, len(running.results)
        cpu = [processor_seconds(child.pid) for child in (running.page, running.node)]
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        ages = np.array(watchers.ages_ms[first:])
        page, node = (
            (processor_seconds(child.pid) - before) / took
            for child, before in zip((running.page, running.node), cpu, strict=True)
        )
        each = max(1, browsers) * took
        return Measurement(
            ages,
            len(ages) / each,
            (len(running.results) - tracked) / took,
            page,
            node,
            (watchers.bytes - sent) / each / 1e6,
        )
    finally:
        watchers.close()


def drawn_ages(running: Running, seconds: float) -> np.ndarray | None:
    """Return the ages of pictures that Chromium has drawn, milliseconds; None: it is not here."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if not os.access(CHROMIUM, os.X_OK):
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu']
        )
        page = browser.new_page()
        page.add_init_script(_NOTE_AGES)
        page.goto(running.address)
        page.wait_for_timeout(1e3 * WARM_UP_S)
        page.evaluate('window.ages.length = 0')
        page.wait_for_timeout(1e3 * seconds)
        ages = np.array(page.evaluate('window.ages'))
        browser.close()
    return ages


def churn(running: Running, seconds: float) -> list[float]:
    """Let browsers come and go; return the memory of page_node in between, megabytes."""
    megabytes = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watchers = Watchers(running.address, 3)
        time.sleep(2.0)
        watchers.close()
        megabytes.append(resident_bytes(running.page.pid) / 1e6)
    return megabytes


def describe(rows: list[list[str]], megabytes: list[float], note: str) -> str:
    """Return the table as markdown."""
    heads = [
        'images',
        'browsers',
        'age p50, ms',
        'p95, ms',
        'pictures per second each',
        'images tracked per second',
        'page_node, % of a core',
        'tracking node, % of a core',
        'MB/s each',
    ]
    lines = [table(heads, rows), '']
    if megabytes:
        third = max(1, len(megabytes) // 3)
        lines.append(
            f'Memory of page_node while browsers came and went {len(megabytes)} times: '
            f'{np.median(megabytes[:third]):.0f} MB in the first third of the time, '
            f'{np.median(megabytes[-third:]):.0f} MB in the last.'
        )
    lines.append(f'Images arrive at {RATE_HZ:g} Hz, the model takes {MODEL_MS:g} ms. {machine()}.')
    return '\n'.join([*lines, note] if note else lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=15.0, help='of each measurement')
    parser.add_argument('--churn', type=float, default=600.0, help='seconds; 0: not at all')
    parser.add_argument('--note', default='', help='a sentence below the table')
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    rows, megabytes = [], []
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        for size in SIZES:
            name = f'{size[1]}x{size[0]}'
            with robot(size) as running:
                for browsers in BROWSERS:
                    one = measure(running, browsers, args.seconds)
                    rows.append([name, str(browsers), *one.row()])
                    print(' '.join(rows[-1]), flush=True)
                ages = drawn_ages(running, args.seconds)
                if ages is not None and len(ages):
                    p50, p95 = np.percentile(ages, (50, 95))
                    shown = f'{len(ages) / args.seconds:.1f}'
                    rows.append([name, 'Chromium', f'{p50:.0f}', f'{p95:.0f}', shown, *[''] * 4])
                    print(' '.join(rows[-1]), flush=True)
                if size == SIZES[0] and args.churn:
                    megabytes = churn(running, args.churn)
    publish(describe(rows, megabytes, args.note), 'page', args.doc)
    return 0


if __name__ == '__main__':
    main()
