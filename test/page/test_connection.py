# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page in a browser while other things happen: restarts, other operators, slow networks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fakes.colour_tracker import picture
from page_graph import SIZE, OpenPage, wait_for

RED, BLUE = (35, 45), (65, 95)


@pytest.fixture
def open_page(chromium, robot):
    """Open pages, which are closed after the test."""
    opened = []

    def open_page(**options):
        opened.append(OpenPage(chromium, robot, **options))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


@pytest.fixture(scope='module')
def spare(robot):
    """A second page node: [process, address]."""
    started = list(robot.start_page())
    yield started
    started[0].end()


def serious_violations(page):
    """Return what axe finds on a page: the rule, and the first element that breaks it."""
    axe = pytest.importorskip(
        'axe_playwright_python.sync_playwright', reason='axe-playwright-python is not installed'
    )
    found = axe.Axe().run(page).response['violations']
    serious = [one for one in found if one['impact'] in ('serious', 'critical')]
    return [(one['id'], one['nodes'][0]['html']) for one in serious]


def test_two_operators_see_each_others_changes(page, open_page):
    other = open_page()
    page.add(*RED, 1)
    other.wait('the object', lambda: 1 in other.objects)
    other.page.keyboard.press('1')
    other.page.keyboard.press('r')
    other.page.fill('#rename-name', 'ball')
    other.page.keyboard.press('Enter')
    page.wait('its name', lambda: '1 ball' in page.page.inner_text('#objects'))
    other.page.keyboard.press('u')
    assert 'nothing to undo' in other.answer(2)['message'], 'the prompt was that of the other'
    other.page.keyboard.press('Delete')
    page.wait('that it is gone', lambda: not page.page.locator('#objects li').count())


def test_a_slow_network_does_not_slow_another_browser(page, open_page):
    slow = open_page()
    session = slow.page.context.new_cdp_session(slow.page)
    slow_network = {'offline': False, 'latency': 500, 'uploadThroughput': -1}
    session.send('Network.enable')
    session.send('Network.emulateNetworkConditions', slow_network | {'downloadThroughput': 3000})
    begin, slow_begin = page.count, slow.count
    page.wait('many pictures', lambda: page.count >= begin + 25)
    assert slow.count - slow_begin <= 6
    slow.wait('a picture', lambda: slow.count > slow_begin + 1)
    numbers = sorted(page.robot.camera.numbers)
    late = len(numbers) - numbers.index(int(slow.frame['stamp']))
    assert late <= 25, 'pictures have not queued up'


def test_the_size_of_the_images_changes(page):
    small, large = (60, 80), (180, 320)
    for size in (large, small):
        page.robot.camera.draw = lambda number, size=size: picture(size, red=(20, 20))
        page.wait('the size', lambda size=size: page.frame['height'] == size[0])
        page.page.wait_for_timeout(200)
        box = page.page.locator('#view').bounding_box()
        page.page.mouse.click(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
        prompt = page.wait('a prompt', lambda: page.prompts)[-1]
        np.testing.assert_allclose(
            prompt['points'][0][:2], (size[1] / 2 - 0.5, size[0] / 2 - 0.5), atol=1.0
        )
        page.robot.client.reset()
        page.sent.clear()


def test_the_tracking_node_is_restarted(page):
    page.add(*RED, 1)
    page.robot.tracks[''].interrupt()
    page.robot.start_tracking()
    page.wait('its results', lambda: page.frame['tracked'] and not page.objects, timeout=60)
    page.wait('answers', lambda: click_again(page), timeout=60)


def click_again(page):
    """Click until the new node answers, whose services are discovered one after the other."""
    page.click(*BLUE)
    page.page.wait_for_timeout(500)
    return 1 in page.objects


def test_the_page_node_is_restarted(page, open_page, spare):
    page.add(*RED, 1)
    other = open_page(address=spare[1])
    spare[0].interrupt()
    other.wait('the message', lambda: 'No connection' in other.page.inner_text('#empty'))
    spare[:] = page.robot.start_page(port=int(re.search(r':(\d+)/', spare[1])[1]))
    other.wait('pictures', lambda: other.page.is_hidden('#empty'))
    other.wait('the track, which is kept', lambda: 1 in other.objects)


def test_nothing_is_subscribed_to_while_nobody_looks(page, open_page, spare):
    camera = page.robot.camera
    wait_for('the end of other tests', lambda: camera.subscribers() == 2)  # node, page node
    other = open_page(address=spare[1])
    assert camera.subscribers() == 3
    other.hide(True)
    wait_for('a page in the background to unsubscribe', lambda: camera.subscribers() == 2)
    other.hide(False)
    count = other.count
    other.wait('pictures again', lambda: other.count > count and camera.subscribers() == 3)
    other.close()
    wait_for('the end of the subscription', lambda: camera.subscribers() == 2)


def test_what_page_node_refuses_is_said_in_one_line(robot):
    port = re.search(r':(\d+)/', robot.address)[1]
    for parameter, words in ((f'port:={port}', f'127.0.0.1:{port}'), ('port:=abc', 'port:')):
        process = robot.run('-m', 'tam_ros.page.page_node', '--ros-args', '-p', parameter)
        assert process.process.wait(30) == 1
        (line,) = process.log.splitlines()
        assert line.startswith('page_node: ') and words in line


def test_several_cameras_are_found_on_the_graph(page):
    robot = page.robot
    robot.start_tracking('-r', 'image:=/rear/image', namespace='/rear')
    from page_graph import Camera

    camera = Camera('/rear/image')
    camera.draw = lambda number: picture(SIZE, blue=(60, 50))
    try:
        buttons = page.page.locator('#cameras button')
        page.wait('two buttons', lambda: buttons.count() == 2)
        assert buttons.all_inner_texts() == ['rear', 'track_node']
        page.page.get_by_role('button', name='rear').click()
        page.wait('its pictures', lambda: page.frame.get('camera') == '/rear/track_node')
        page.wait('its results', lambda: page.frame['tracked'])
        page.click(65, 55)
        page.wait('its object', lambda: 1 in page.objects)
        assert page.prompts[-1]['camera'] == '/rear/track_node'
        assert robot.client.objects() == [], 'the other camera has none'
    finally:
        robot.tracks.pop('/rear').end()
        camera.close()


def test_beyond_this_computer_the_printed_address_opens_the_page(robot, chromium, page):
    process, address = robot.start_page(host='0.0.0.0')
    try:
        wait_for('a QR code', lambda: '\u2588' in process.log or '\u2580' in process.log)
        plain, token = address.split('?token=')
        assert process.log.count(token) == 1
        local = re.sub(r'//[^:/]+', '//127.0.0.1', plain)
        stranger = chromium.new_page()
        assert stranger.goto(local).status == 401
        assert stranger.get_by_label('Token').is_visible()
        assert not serious_violations(stranger)
        stranger.fill('#token', token)
        stranger.click('button')
        stranger.wait_for_selector('#view')
        assert token not in stranger.url
        stranger.close()
        opened = OpenPage(chromium, robot, address=f'{local}?token={token}', phone=True)
        assert 'token' not in opened.page.url
        opened.close()
    finally:
        process.end()


def test_a_foreign_page_cannot_connect(chromium, robot, spare):
    """Another port is another origin."""
    foreign = chromium.new_page()
    foreign.goto(spare[1])
    result = foreign.evaluate(
        """(address) => new Promise((resolve) => {
          const socket = new WebSocket(address);
          socket.onopen = () => resolve('open');
          socket.onerror = () => resolve('refused');
        })""",
        robot.address.replace('http', 'ws') + 'socket',
    )
    foreign.close()
    assert result == 'refused'


@pytest.mark.parametrize(
    ('phone', 'scheme'), [(False, 'light'), (True, 'dark')], ids=['desktop', 'phone']
)
def test_axe_finds_nothing_serious(page, open_page, scheme, phone):
    page.add(*RED, 1)
    other = open_page(phone=phone, color_scheme=scheme)
    other.page.locator('#display summary').click()
    states = [lambda: None, lambda: other.page.click('#help')]
    for enter in states:
        enter()
        assert not serious_violations(other.page)
    for element in other.page.locator('button:visible, summary:visible').all():
        box = element.bounding_box()
        assert box['width'] >= 44 and box['height'] >= 44, element.inner_text()
