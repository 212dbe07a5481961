# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of the page: its files, the WebSocket, and who may use them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from aiohttp import WSCloseCode, web

from tam_ros.drawing.palette import colour
from tam_ros.page.access import Access
from tam_ros.page.browser import Browser, Source, Workers, hello
from tam_ros.page.protocol import MAX_MESSAGE_BYTES
from tam_ros.page.settings import PageSettings

STATIC = Path(__file__).parent / 'static'

SPARE_CONNECTIONS = 64
"""Connections besides the WebSockets: those that load the files of the page."""

SILENT_S = 10.0
"""Seconds after which a connection that has not sent a request is closed."""

_HEARTBEAT_S = 15.0
_COLOURS = 12  # of the palette, which repeats
_TYPES = {
    '.html': 'text/html',
    '.css': 'text/css',
    '.js': 'text/javascript',
    '.svg': 'image/svg+xml',
    '.webmanifest': 'application/manifest+json',
}
_HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',  # with `no-referrer`, forms have the origin `null`
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
    'Server': 'tam_ros',
}
_TOKEN_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>tam_ros: token</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/style.css"></head>
<body class="token"><main><h1>tam_ros</h1><p role="alert">{problem}</p>
<form method="post" action="/token"><label for="token">Token of this page, which page_node printed
when it was started</label>
<input id="token" name="token" type="password" autocomplete="off" required>
<button>Open</button></form></main></body></html>
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """Serves the page; everything runs in the thread of its event loop."""

    def __init__(self, settings: PageSettings, access: Access, source: Source) -> None:
        """Read the files of the page; nothing is served before `start`.

        Args:
            settings: the parameters.
            access: who may use the page.
            source: where frames come from and requests go to.
        """
        self._settings, self._access, self._source = settings, access, source
        self._files = read_files(STATIC)
        self._browsers: set[Browser] = set()
        self._numbers = itertools.count(1)
        self._workers = Workers(
            ThreadPoolExecutor(2, thread_name_prefix='pictures'),
            ThreadPoolExecutor(8, thread_name_prefix='requests'),
        )
        # A cookie belongs to a host, whatever the port.
        digest = hashlib.sha256(access.token.encode()).hexdigest()
        self._cookie = f'tam_ros_{digest[:12]}'
        # When connections were accepted that have not sent a request yet.
        self._silent: dict[asyncio.BaseProtocol, float] = {}
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address or the port cannot be used.
            ssl.SSLError: the certificate or the key cannot be used.
        """
        tls = None
        if self._settings.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self._settings.certificate, self._settings.key)
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.router.add_post('/token', self._on_token)
        app.router.add_get('/socket', self._on_socket)
        app.router.add_get('/ready', self._on_ready)
        app.router.add_get('/{name:.*}', self._on_file)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=15.0, max_line_size=4096, max_field_size=4096
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._notify)

        self._source.values.on_change(changed)
        self._listener = await loop.create_server(
            self._accept, self._settings.host, self._settings.port, ssl=tls, backlog=128
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._close_silent_connections())

    async def stop(self) -> None:
        """Close all connections."""
        self._source.values.on_change(lambda: None)
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        for browser in tuple(self._browsers):
            await browser.close(WSCloseCode.GOING_AWAY)
        if self._runner is not None:
            await self._runner.cleanup()
        self._workers.pictures.shutdown(wait=False)
        self._workers.requests.shutdown(wait=False)

    def _notify(self) -> None:
        for browser in self._browsers:
            browser.notify()

    # --- connections ---

    def _accept(self) -> asyncio.Protocol:
        """Return the handler of a new connection."""
        assert self._runner is not None and self._runner.server is not None
        limit = self._settings.max_clients + SPARE_CONNECTIONS
        if len(self._runner.server.connections) >= limit:
            return _Refusal()
        handler = self._runner.server()
        self._silent[handler] = time.monotonic()
        return handler

    async def _close_silent_connections(self) -> None:
        while True:
            await asyncio.sleep(SILENT_S / 4)
            now = time.monotonic()
            for handler, since in tuple(self._silent.items()):
                transport = getattr(handler, 'transport', None)  # None when it is closed
                if transport is None and now - since > 1:
                    del self._silent[handler]
                elif transport is not None and now - since > SILENT_S:
                    transport.abort()

    # --- requests ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let only those requests through that may use the page."""
        self._silent.pop(request.protocol, None)
        response: web.StreamResponse
        try:
            response = await self._admit(request, handler)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._access.host_allowed(request.host):
            raise web.HTTPMisdirectedRequest(
                text=f'{request.host!r} is not a name of this computer: use its address, or add '
                f'the name to the parameter host_names of page_node\n'
            )
        needs_origin = request.method != 'GET' or request.path == '/socket'
        origin = request.headers.get('Origin', '')
        if needs_origin and not self._access.origin_allowed(origin, request.host):
            raise web.HTTPForbidden(text=f'a page of {origin!r} may not use this one\n')
        is_open = request.path in ('/token', '/style.css')
        if not is_open and not self._access.token_matches(request.cookies.get(self._cookie, '')):
            given = request.query.get('token', '')
            if request.path == '/' and given and self._access.token_matches(given):
                return self._let_in()
            problem = 'This token is not right.' if given else ''
            return self._ask_for_token(problem)
        return await handler(request)

    def _ask_for_token(self, problem: str) -> web.Response:
        text = _TOKEN_PAGE.format(problem=escape(problem))
        return web.Response(status=401, text=text, content_type='text/html')

    def _let_in(self) -> web.Response:
        # 303 also takes the token out of the address line.
        response = web.Response(status=303, headers={'Location': '/'})
        response.set_cookie(
            self._cookie,
            self._access.token,
            httponly=True,
            samesite='Strict',
            secure=bool(self._settings.certificate),
        )
        return response

    async def _on_token(self, request: web.Request) -> web.Response:
        given = (await request.post()).get('token', '')
        if isinstance(given, str) and self._access.token_matches(given.strip()):
            return self._let_in()
        return self._ask_for_token('This token is not right.')

    async def _on_file(self, request: web.Request) -> web.Response:
        name = request.match_info['name'] or 'index.html'
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound(text='there is no such file\n')
        content_type, data = found
        return web.Response(body=data, content_type=content_type, charset='utf-8')

    async def _on_ready(self, request: web.Request) -> web.Response:
        """Answer whether a WebSocket would be accepted, which browsers do not tell their pages."""
        self._require_room()
        return web.Response(text='ready')

    def _require_room(self) -> None:
        limit = self._settings.max_clients
        if len(self._browsers) >= limit:
            raise web.HTTPServiceUnavailable(
                text=f'{limit} browsers are connected, the limit (max_clients).'
            )

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        self._require_room()
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        browser = Browser(
            next(self._numbers),
            socket,
            self._source,
            self._workers,
            self._settings.may_prompt,
            self._attend,
        )
        self._browsers.add(browser)
        try:
            await socket.prepare(request)
            colours = [list(colour(number)) for number in range(1, _COLOURS + 1)]
            await socket.send_str(hello(self._settings.may_prompt, colours))
            self._attend()
            await browser.serve()
        except ConnectionError:
            pass  # the browser has gone
        finally:
            self._browsers.discard(browser)
            self._attend()
        return socket

    def _attend(self) -> None:
        watched = frozenset(browser.watched for browser in self._browsers) - {''}
        self._source.attend(watched if self._browsers else None)


class _Refusal(asyncio.Protocol):
    """Closes a connection beyond the limit at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def read_files(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return media type and content of each file of the page by its name."""
    return {
        path.name: (_TYPES[path.suffix], path.read_bytes())
        for path in sorted(folder.iterdir())
        if path.suffix in _TYPES
    }
