# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One browser that is connected: what it sends, and what it is sent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from tam_ros.io.image_data import ImageFormatError
from tam_ros.page.frame import Frame
from tam_ros.page.protocol import Acknowledge, ProtocolError, Request, Watch, read_message
from tam_ros.page.store import Answer, LatestValues
from tam_ros.page.stream import FrameFlow, RateLimit

MESSAGES_PER_SECOND, MESSAGE_BURST = 100.0, 200
"""What a browser may send: it acknowledges each frame, and a person does the rest."""

MAX_REQUESTS = 8
"""Requests of one browser that may wait for their answers."""

MAX_ERRORS = 20
"""Messages that cannot be used, after which a browser is disconnected."""

_log = logging.getLogger(__name__)

READ_ONLY = 'this page only shows (may_prompt is false): nothing can be changed here'


class Source(Protocol):
    """Where frames come from and requests go to."""

    @property
    def values(self) -> LatestValues:
        """The newest of everything."""

    def attend(self, cameras: frozenset[str] | None) -> None:
        """Set which cameras are looked at; None: no browser is connected."""

    def answer(self, browser: int, request: Request) -> Answer:
        """Do what a browser requests; blocks, in a worker thread."""


@dataclass(frozen=True)
class Workers:
    """Threads for what blocks, so that slow answers of a node do not hold up pictures."""

    pictures: Executor
    requests: Executor


class Browser:
    """Serves one WebSocket.

    Attributes:
        number: number of the browser.
        watched: the camera that it shows; empty: none.
    """

    def __init__(
        self,
        number: int,
        socket: web.WebSocketResponse,
        source: Source,
        workers: Workers,
        may_prompt: bool,
        choice_changed: Callable[[], None],
    ) -> None:
        """Start with no camera.

        Args:
            number: number of the browser.
            socket: its connection, prepared.
            source: where frames come from and requests go to.
            workers: threads for what blocks.
            may_prompt: whether requests are accepted.
            choice_changed: called when `watched` has changed.
        """
        self.number, self.watched = number, ''
        self._pictures = True
        self._socket, self._source, self._workers = socket, source, workers
        self._may_prompt, self._choice_changed = may_prompt, choice_changed
        self._flow = FrameFlow()
        self._rate = RateLimit(MESSAGES_PER_SECOND, MESSAGE_BURST)
        self._news = asyncio.Event()
        self._answers: deque[dict[str, Any]] = deque()
        self._requests: set[asyncio.Task[None]] = set()
        self._errors = 0
        self._shown: dict[str, Any] = {}

    def notify(self) -> None:
        """Look for something new to send."""
        self._news.set()

    async def close(self, code: int) -> None:
        """End the connection."""
        await self._socket.close(code=code)

    async def serve(self) -> None:
        """Exchange messages until the connection ends."""
        sender = asyncio.create_task(self._send_news())
        self._news.set()
        try:
            await self._receive()
        finally:
            tasks = (sender, *self._requests)
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    # --- from the browser ---

    async def _receive(self) -> None:
        async for message in self._socket:
            if not self._rate.allow():
                await self._refuse('too many messages')
                return
            if message.type is not WSMsgType.TEXT:
                self._wrong('only text is accepted')
            else:
                try:
                    self._take(read_message(message.data))
                except ProtocolError as error:
                    self._wrong(str(error))
            if self._errors > MAX_ERRORS:
                await self._refuse('too many messages that cannot be used')
                return
            self._news.set()

    def _take(self, message: Watch | Acknowledge | Request) -> None:
        if isinstance(message, Acknowledge):
            self._flow.acknowledge(message.frame)
        elif isinstance(message, Watch):
            changed = message.camera != self.watched
            self.watched, self._pictures = message.camera, message.pictures
            self._flow.restart()
            if changed:
                self._choice_changed()
        elif not self._may_prompt:
            self._reply(message, Answer(False, READ_ONLY))
        elif len(self._requests) >= MAX_REQUESTS:
            self._reply(message, Answer(False, 'earlier requests are not answered yet: wait'))
        else:
            task = asyncio.create_task(self._request(message))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _request(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(
                self._workers.requests, self._source.answer, self.number, request
            )
        except Exception as error:
            _log.exception('a request failed')
            answer = Answer(False, f'the page has failed ({type(error).__name__}); see its log')
        self._reply(request, answer)

    def _reply(self, request: Request, answer: Answer) -> None:
        self._answers.append(
            {
                'type': 'answer',
                'request': request.request,
                'success': answer.success,
                'message': answer.message,
                'object': answer.object_id,
            }
        )
        self._news.set()

    def _wrong(self, reason: str) -> None:
        self._errors += 1
        self._answers.append({'type': 'error', 'message': reason})

    async def _refuse(self, reason: str) -> None:
        await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode())

    # --- to the browser ---

    async def _send_news(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._answers:
                    await self._socket.send_json(self._answers.popleft())
                await self._send_changed('cameras', list(self._source.values.cameras))
                if self.watched:
                    status = self._source.values.status(self.watched)
                    if status is not None:
                        await self._send_changed('status', status, camera=self.watched)
                    frame = self._flow.take(self._source.values.frame(self.watched))
                    if frame is not None:
                        await self._send_frame(frame)
        except ConnectionError:
            pass  # the browser has gone
        finally:
            await self._socket.close()  # ends `_receive` as well

    async def _send_changed(self, kind: str, value: Any, **fields: Any) -> None:
        if self._shown.get(kind) != (value, fields):
            self._shown[kind] = value, fields
            await self._socket.send_json({'type': kind, kind: value, **fields})

    async def _send_frame(self, frame: Frame) -> None:
        loop = asyncio.get_running_loop()
        make = frame.message if self._pictures else frame.message_without_pictures
        try:
            data = await loop.run_in_executor(self._workers.pictures, make)
        except ImageFormatError as error:
            self._flow.acknowledge(frame.number)
            await self._send_changed('problem', str(error))
            return
        await self._socket.send_bytes(data)


def hello(may_prompt: bool, colours: list[list[int]]) -> str:
    """Return the first message to a browser.

    Args:
        may_prompt: whether requests are accepted.
        colours: red, green and blue, 0 to 255, of the ids from 1; they repeat.
    """
    return json.dumps({'type': 'hello', 'may_prompt': may_prompt, 'colours': colours})
