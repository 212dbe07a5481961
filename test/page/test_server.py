# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The server without ROS: who may use it, its limits, and what browsers are sent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import ssl
import subprocess
import threading
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
from std_msgs.msg import Header

from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.page import browser, server
from tam_ros.page.access import Access
from tam_ros.page.frame import Frame
from tam_ros.page.protocol import MAX_MESSAGE_BYTES, Remove, unpack_frame
from tam_ros.page.server import PageServer
from tam_ros.page.settings import PageSettings
from tam_ros.page.store import Answer, LatestValues
from tam_ros.ros.conversions import array_to_image

CAMERA = '/track_node'
TOKEN = 'a token of twenty'
SETTINGS = PageSettings(port=0, max_clients=4)
IMAGE = array_to_image(np.zeros((60, 80, 3), np.uint8), 'rgb8', Header())


class FakeSource:
    """One camera; requests are kept, and answered when `let_answer` is set."""

    def __init__(self):
        self.values = LatestValues()
        self.values.put_cameras([CAMERA])
        self.attended, self.requests = [], []
        self.numbers = itertools.count(1)
        self.let_answer = threading.Event()
        self.let_answer.set()
        self.decoder = ImageDecoder(lambda text: None)

    def attend(self, cameras):
        self.attended.append(cameras)

    def answer(self, number, request):
        self.requests.append((number, request))
        self.let_answer.wait(10)
        return Answer(request.object_id != 9, 'no object 9', request.object_id)

    def show(self, image=IMAGE):
        number = next(self.numbers)
        frame = Frame(number, CAMERA, number, image, None, [], self.decoder, 80, 1280)
        self.values.put_frame(CAMERA, frame)
        return number


class Site:
    """A running server, and a client of it."""

    def __init__(self, source, running, session):
        self.source, self.session = source, session
        self.base = f'http://127.0.0.1:{running.port}'
        self.port = running.port

    def get(self, path, **options):
        return self.session.get(self.base + path, allow_redirects=False, **options)

    async def socket(self, camera=CAMERA, **headers):
        """Open a WebSocket, and watch a camera."""
        headers = {'Origin': self.base, **headers}
        opened = await self.session.ws_connect(self.base + '/socket', headers=headers)
        assert (await opened.receive_json())['type'] == 'hello'
        assert (await opened.receive_json())['cameras'] == [CAMERA]
        if camera:
            await opened.send_json({'type': 'watch', 'camera': camera})
        return opened


def run(check, settings=SETTINGS, token=''):
    """Run a check, a coroutine function of a `Site`."""

    async def all_of_it():
        source = FakeSource()
        access = Access(settings.host, token, tls=bool(settings.certificate))
        running = PageServer(settings, access, source)
        await running.start()
        try:
            # No cookies for IP addresses, unless the jar is told to.
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as session:
                await asyncio.wait_for(check(Site(source, running, session)), 50)
        finally:
            await running.stop()

    asyncio.run(all_of_it())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def closed(socket):
    """Return the code and the reason with which the server closes a WebSocket."""
    async for _ in socket:
        pass
    return socket.close_code


# --- files ---


def test_only_the_files_of_the_page_are_served():
    async def check(site):
        async with site.get('/') as answer:
            assert answer.status == 200 and answer.content_type == 'text/html'
            assert "default-src 'none'" in answer.headers['Content-Security-Policy']
            assert 'tam_ros' in await answer.text()
        for name in server.read_files(server.STATIC):
            async with site.get(f'/{name}') as answer:
                assert answer.status == 200
        for path in ('/../server.py', '/%2e%2e/server.py', '/static/main.js', '/etc/passwd', '//'):
            async with site.get(path) as answer:
                assert answer.status == 404
                assert answer.headers['X-Content-Type-Options'] == 'nosniff'

    run(check)


def test_nothing_is_fetched_from_elsewhere():
    for name, (_, data) in server.read_files(server.STATIC).items():
        text = data.decode()
        assert 'https://' not in text, name
        assert text.replace('http://www.w3.org/2000/svg', '').count('http://') == 0, name


# --- access ---


def test_wrong_hosts_and_origins_are_refused():
    async def check(site):
        async with site.get('/', headers={'Host': 'evil.example'}) as answer:
            assert answer.status == 421
        for origin in ('http://evil.example', 'null', ''):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await site.socket(Origin=origin)
            assert caught.value.status == 403
        async with site.session.post(site.base + '/token', data={'token': TOKEN}) as answer:
            assert answer.status == 403, 'a form of another page'
        assert site.source.attended == []

    run(check)


def test_nothing_is_shown_without_the_token():
    async def check(site):
        for path in ('/', '/main.js', '/ready', '/?token=wrong', '/?token='):
            async with site.get(path) as answer:
                assert answer.status == 401 and TOKEN not in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await site.socket()
        assert caught.value.status == 401
        async with site.get('/style.css') as answer:
            assert answer.status == 200

    run(check, token=TOKEN)


@pytest.mark.parametrize('by_form', [False, True])
def test_the_token_opens_the_page(by_form):
    async def check(site):
        if by_form:
            options = {'headers': {'Origin': site.base}, 'allow_redirects': False}
            for given, status in (('wrong', 401), (TOKEN, 303)):
                data = {'token': given}
                async with site.session.post(site.base + '/token', data=data, **options) as answer:
                    assert answer.status == status
        else:
            async with site.get('/', params={'token': TOKEN}) as answer:
                assert answer.status == 303 and answer.headers['Location'] == '/'
        cookie = answer.headers['Set-Cookie']
        assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
        async with site.get('/') as answer:
            assert answer.status == 200
        await site.socket()

    run(check, token=TOKEN)


def test_a_certificate_makes_it_https(tmp_path):
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed here')
    key, certificate = str(tmp_path / 'key.pem'), str(tmp_path / 'certificate.pem')
    command = 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost'
    files = ['-keyout', key, '-out', certificate]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)

    async def check(site):
        trusted = ssl.create_default_context(cafile=certificate)
        base = f'https://localhost:{site.port}'
        async with site.session.get(f'{base}/', params={'token': TOKEN}, ssl=trusted) as answer:
            assert answer.status == 200, 'after it was sent on without the token'
            assert 'Secure' in answer.history[0].headers['Set-Cookie']
        socket = await site.session.ws_connect(
            f'{base}/socket', headers={'Origin': base}, ssl=trusted
        )
        assert (await socket.receive_json())['type'] == 'hello'

    run(check, replace(SETTINGS, certificate=certificate, key=key), TOKEN)


# --- limits ---


def test_messages_that_are_too_long_end_the_connection():
    async def check(site):
        socket = await site.socket()
        await socket.send_str('x' * (MAX_MESSAGE_BYTES + 1))
        assert await closed(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    run(check)


def test_wrong_messages_are_answered_and_many_end_the_connection():
    async def check(site):
        socket = await site.socket(camera='')
        await socket.send_bytes(b'binary')
        assert 'only text' in (await socket.receive_json())['message']
        for _ in range(browser.MAX_ERRORS):
            await socket.send_str('{"type": "shell"}')
        assert await closed(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert site.source.requests == []

    run(check)


def test_a_flood_of_messages_ends_the_connection():
    async def check(site):
        socket = await site.socket()
        with contextlib.suppress(ConnectionError):
            for _ in range(4 * browser.MESSAGE_BURST):
                await socket.send_json({'type': 'ack', 'frame': 1})
        assert await closed(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION

    run(check)


def test_browsers_are_limited_and_told_so():
    async def check(site):
        sockets = [await site.socket() for _ in range(SETTINGS.max_clients)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await site.socket()
        assert caught.value.status == 503
        async with site.get('/ready') as answer:
            assert answer.status == 503 and '4 browsers are connected' in await answer.text()
        await sockets[0].close()
        await until(lambda: len(site.source.attended) > SETTINGS.max_clients)
        await site.socket()

    run(check)


def test_a_thousand_connections_do_not_disturb_those_that_are_there(monkeypatch):
    monkeypatch.setattr(server, 'SPARE_CONNECTIONS', 20)
    monkeypatch.setattr(server, 'SILENT_S', 1.0)

    async def check(site):
        socket = await site.socket()
        others = []
        for _ in range(1000):
            with contextlib.suppress(OSError):
                others.append(await asyncio.open_connection('127.0.0.1', site.port))
        number = site.source.show()
        while (message := await socket.receive()).type is not aiohttp.WSMsgType.BINARY:
            pass
        assert unpack_frame(message.data)[0]['frame'] == number
        # The silent ones are closed, so that others can connect again.
        for reader, writer in others:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b''
            writer.close()
        async with site.get('/ready') as answer:
            assert answer.status == 200

    run(check)


def test_requests_that_wait_are_limited():
    async def check(site):
        socket = await site.socket()
        site.source.let_answer.clear()
        for number in range(browser.MAX_REQUESTS + 1):
            await socket.send_json(
                {'type': 'remove', 'request': number, 'camera': CAMERA, 'object': 1}
            )
        answer = await socket.receive_json()
        assert answer['request'] == browser.MAX_REQUESTS and 'wait' in answer['message']
        site.source.let_answer.set()
        answers = [await socket.receive_json() for _ in range(browser.MAX_REQUESTS)]
        assert all(answer['success'] for answer in answers)

    run(check)


# --- what browsers get ---


def test_requests_are_passed_on_and_answered():
    async def check(site):
        socket = await site.socket()
        await socket.send_json({'type': 'remove', 'request': 5, 'camera': CAMERA, 'object': 9})
        assert await socket.receive_json() == {
            'type': 'answer',
            'request': 5,
            'success': False,
            'message': 'no object 9',
            'object': 9,
        }
        ((_, request),) = site.source.requests
        assert request == Remove(5, CAMERA, 9)

    run(check)


def test_a_page_that_only_shows_changes_nothing():
    async def check(site):
        socket = await site.socket()
        await socket.send_json({'type': 'remove', 'request': 5, 'camera': CAMERA, 'object': 1})
        answer = await socket.receive_json()
        assert not answer['success'] and 'may_prompt' in answer['message']
        assert site.source.requests == []

    run(check, replace(SETTINGS, may_prompt=False))


async def frame_of(socket):
    while (message := await socket.receive()).type is not aiohttp.WSMsgType.BINARY:
        assert message.type is aiohttp.WSMsgType.TEXT, message
    return unpack_frame(message.data)


def test_a_browser_that_does_not_acknowledge_does_not_slow_another():
    async def check(site):
        slow, fast = await site.socket(), await site.socket()
        numbers = []
        for _ in range(20):
            number = site.source.show()
            header, jpeg, _ = await frame_of(fast)
            numbers.append(header['frame'])
            assert header['frame'] == number and jpeg
            await fast.send_json({'type': 'ack', 'frame': number})
        assert numbers == list(range(1, 21))
        assert (await frame_of(slow))[0]['frame'] == 1
        await slow.send_json({'type': 'ack', 'frame': 1})
        assert (await frame_of(slow))[0]['frame'] == 20, 'the newest, not the next'

    run(check)


def test_a_picture_that_stands_still_is_not_sent():
    async def check(site):
        socket = await site.socket(camera='')
        await socket.send_json({'type': 'watch', 'camera': CAMERA, 'pictures': False})
        number = site.source.show()
        header, jpeg, labels = await frame_of(socket)
        assert header['frame'] == number and jpeg == labels == b''
        await socket.send_json({'type': 'ack', 'frame': number})
        await socket.send_json({'type': 'watch', 'camera': CAMERA})
        header, jpeg, _ = await frame_of(socket)
        assert header['frame'] == number and jpeg, 'the same frame, now with its picture'

    run(check)


def test_an_image_that_cannot_be_read_is_a_problem_in_words():
    async def check(site):
        socket = await site.socket()
        broken = array_to_image(np.zeros((2, 2, 3), np.uint8), 'rgb8', Header())
        broken.encoding = 'mystery'
        site.source.show(broken)
        message = await socket.receive_json()
        assert message['type'] == 'problem' and 'mystery' in message['problem']
        number = site.source.show()
        assert (await frame_of(socket))[0]['frame'] == number

    run(check)


def test_only_what_is_looked_at_is_attended():
    async def check(site):
        attended = site.source.attended
        one = await site.socket()
        await until(lambda: attended[-1:] == [frozenset({CAMERA})])
        two = await site.socket(camera='/other')
        await until(lambda: attended[-1] == frozenset({CAMERA, '/other'}))
        await one.send_json({'type': 'watch', 'camera': ''})
        await until(lambda: attended[-1] == frozenset({'/other'}))
        await two.close()
        await until(lambda: attended[-1] == frozenset())
        await one.close()
        await until(lambda: attended[-1] is None)

    run(check)


def test_status_is_sent_when_it_changes():
    async def check(site):
        site.source.values.put_status(CAMERA, {'input': {'level': 'ok'}})
        socket = await site.socket()
        message = json.loads((await socket.receive()).data)
        assert message['status'] == {'input': {'level': 'ok'}} and message['camera'] == CAMERA
        site.source.values.put_status(CAMERA, {'input': {'level': 'ok'}})
        site.source.values.put_status(CAMERA, {'input': {'level': 'error'}})
        assert (await socket.receive_json())['status']['input']['level'] == 'error'

    run(check)
