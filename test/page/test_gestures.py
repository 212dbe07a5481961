# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: what is marked on the screen is tracked, on the very image marked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fakes.colour_tracker import COLOURS as SQUARES
from page_graph import BAND, COLOURS, PERIOD_S, SIZE, OpenPage, band_at, bands
from PIL import Image

RED, GREEN, BLUE = (35, 45), (95, 45), (65, 95)  # centres of the squares


def show_bands(page):
    """Let the camera show moving bands, and wait until the page does."""
    page.robot.camera.draw = bands
    count = page.count + 3  # frames that were on their way are of the squares
    page.wait('the bands', lambda: page.count > count)


def assert_marked(page, prompt):
    """Assert that object 1 is exactly what was marked, on the image that was marked."""
    (point,) = prompt['points']
    colour = band_at(page.robot.camera.numbers[int(prompt['stamp'])], point[0])
    page.wait('the object', lambda: 1 in page.objects)
    labels, stamp_ns = page.labels()
    image = bands(page.robot.camera.numbers[stamp_ns])
    assert labels.shape == SIZE
    np.testing.assert_array_equal(labels == 1, (image == COLOURS[colour]).all(-1))


def screen_colour(page, x, y):
    """Return the colour in a screenshot, at a position in the window."""
    data = page.page.screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'), int)
    scale = pixels.shape[1] / page.page.viewport_size['width']
    return pixels[int(y * scale), int(x * scale)]


def test_a_click_marks_what_is_below_it_on_that_very_image(page):
    show_bands(page)
    page.click(70, 60)
    prompt = page.wait('a prompt', lambda: page.prompts)[0]
    np.testing.assert_allclose(prompt['points'], [(70, 60, 1)], atol=0.51)
    assert_marked(page, prompt)
    assert page.page.locator('#objects li').count() == 1
    assert 'visible' in page.page.inner_text('#objects')


@pytest.mark.parametrize('clicks', [-2, 2], ids=['50 %', '200 %'])
def test_a_click_when_the_picture_is_zoomed(page, clicks):
    """The picture stands still, so that what is seen there can be compared with what is sent."""
    show_bands(page)
    button = page.page.locator('#zoom-in' if clicks > 0 else '#zoom-out')
    for _ in range(abs(clicks)):
        button.click()
    page.page.keyboard.press('Space')  # the button has not kept the keyboard
    page.wait('the pause', lambda: page.page.locator('#pause').inner_text() == 'Continue')
    page.page.wait_for_timeout(2 * 1000 * PERIOD_S)  # the picture that was on its way
    seen = screen_colour(page, *page.screen(75, 50, zoom=2 ** (clicks / 2)))
    page.page.mouse.click(*page.screen(75, 50, zoom=2 ** (clicks / 2)))
    prompt = page.wait('a prompt', lambda: page.prompts)[0]
    np.testing.assert_allclose(prompt['points'], [(75, 50, 1)], atol=1.01)
    colour = band_at(page.robot.camera.numbers[int(prompt['stamp'])], prompt['points'][0][0])
    assert np.abs(seen - COLOURS[colour]).max() < 40, 'the stamp is that of the picture seen'
    page.wait('the note', lambda: 'its mask shows when' in page.page.inner_text('#note'))
    page.page.keyboard.press('Space')
    page.wait('pictures again', lambda: page.frame['picture_bytes'])
    assert_marked(page, prompt)


def test_a_phone_that_is_turned(robot, chromium, onlooker):
    robot.reset()
    page = OpenPage(chromium, robot, phone=True, device_scale_factor=2)
    try:
        show_bands(page)
        for width, height in ((390, 800), (800, 390)):
            page.page.set_viewport_size({'width': width, 'height': height})
            page.page.wait_for_timeout(2 * 1000 * PERIOD_S)
            before = len(page.prompts)
            page.page.touchscreen.tap(*page.screen(50, 70))
            page.wait('a prompt', lambda before=before: len(page.prompts) > before)
            np.testing.assert_allclose(page.prompts[-1]['points'], [(50, 70, 1)], atol=1.01)
            assert_marked(page, page.prompts[-1])
            robot.client.reset()
            page.wait('no object', lambda: not page.objects)
        # A finger that stays says "not this", which needs an object.
        page.touch('touchStart', page.screen(80, 60))
        page.wait('the note', lambda: page.page.is_visible('#note'))
        page.touch('touchEnd')
        assert page.page.inner_text('#note').startswith('Which object is not here?')
    finally:
        page.close()


def test_a_box_a_correction_an_undo_and_a_removal(page):
    page.drag(20, 30, 49, 59)
    prompt = page.wait('a prompt', lambda: page.prompts)[0]
    np.testing.assert_allclose(prompt['box'], (20, 30, 49, 59), atol=1.01)
    page.wait('object 1', lambda: 1 in page.objects)
    assert page.objects[1]['centroid'] == [34.5, 44.5]
    # A tap on it selects it; holding a place beside it says that it is not there.
    page.click(*RED)
    page.wait('the selection', lambda: 'Refining 1' in page.page.inner_text('#hint'))
    page.click(120, 100, button='right')
    prompt = page.wait('a correction', lambda: page.prompts[1:])[0]
    assert prompt['object'] == 1 and prompt['points'][0][2] == 0
    assert page.answer(2)['success']
    page.page.keyboard.press('u')
    assert page.answer(3)['success']
    assert 'is prompted anew (a box)' in page.robot.tracks[''].log
    page.page.keyboard.press('Delete')
    page.wait('its removal', lambda: not page.objects)
    page.wait('the empty list', lambda: page.page.is_visible('#none'))
    assert not page.page.locator('#objects li').count()


def test_two_objects_a_selection_by_key_and_a_name(page):
    page.add(*RED, 1)
    page.add(*GREEN, 2)
    page.page.keyboard.press('2')
    assert 'Refining 2' in page.page.inner_text('#hint')
    page.page.keyboard.press('r')
    page.page.fill('#rename-name', 'mug')
    page.page.click('#rename .main')
    page.wait('the name', lambda: page.objects[2]['name'] == 'mug')
    page.wait('it in the list', lambda: '2 mug' in page.page.inner_text('#objects'))
    page.page.keyboard.press('Escape')
    assert 'Refining' not in page.page.inner_text('#hint')
    page.page.click('#undo')
    page.wait('that the last one is gone', lambda: set(page.objects) == {1})
    page.page.click('#remove-all')
    page.page.click('#confirm .main')
    page.wait('that none is left', lambda: not page.objects)


def test_everything_can_be_done_with_the_keyboard(page):
    page.page.focus('#view')
    for _ in range(2):
        page.page.keyboard.press('ArrowUp')
    page.page.keyboard.press('b')
    page.page.keyboard.press('ArrowRight')
    page.page.keyboard.press('ArrowDown')
    page.page.keyboard.press('b')
    prompt = page.wait('a box', lambda: page.prompts)[0]
    x0, y0, x1, y1 = prompt['box']
    assert x0 == pytest.approx(79.5) and x1 > x0 and y1 > y0
    page.page.keyboard.press('Enter')
    assert len(page.wait('a point', lambda: page.prompts[1:])[0]['points']) == 1


def test_what_the_node_refuses_is_said_where_the_finger_was(page):
    for number, place in enumerate((RED, GREEN, BLUE, (10, 10)), 1):
        page.add(*place, number)
    page.drag(100, 80, 140, 110)
    place = page.screen(140, 110)
    page.wait('the note', lambda: page.page.is_visible('#note'))
    assert '4 objects' in page.page.inner_text('#note')
    box = page.page.locator('#note').bounding_box()
    assert abs(box['y'] - place[1]) < 80 and box['x'] - 200 < place[0] < box['x'] + 400


def test_a_pinch_and_the_wheel_zoom_about_the_fingers(page):
    x, y = page.screen(100, 40)
    page.page.mouse.move(x, y)
    page.page.mouse.wheel(0, -400)
    page.page.wait_for_timeout(1000 * PERIOD_S)
    page.page.mouse.click(x, y)
    prompt = page.wait('a prompt', lambda: page.prompts)[0]
    np.testing.assert_allclose(prompt['points'], [(100, 40, 1)], atol=0.51)
    page.page.click('#zoom-fit')
    page.touch('touchStart', (x - 20, y))
    page.touch('touchStart', (x - 20, y), (x + 20, y))
    page.touch('touchMove', (x - 60, y), (x + 60, y))
    page.touch('touchEnd')
    assert len(page.prompts) == 1, 'a pinch marks nothing'
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 90, y + 90, steps=3)
    page.page.mouse.up()
    prompt = page.wait('a box', lambda: page.prompts[1:])[0]
    stage = page.page.locator('#view').bounding_box()
    scale = 3 * min(stage['width'] / SIZE[1], stage['height'] / SIZE[0])
    expected = (100, 40, 100 + 90 / scale, 40 + 90 / scale)
    np.testing.assert_allclose(prompt['box'], expected, atol=1.01)


def test_masks_are_drawn_over_what_they_mark(page):
    page.add(*BLUE, 1)
    page.page.locator('#display summary').click()
    page.page.fill('#opacity', '100')
    page.page.uncheck('#names')
    page.page.wait_for_timeout(3 * 1000 * PERIOD_S)
    inside = screen_colour(page, *page.screen(62, 92))
    outside = screen_colour(page, *page.screen(*RED))
    assert np.abs(inside - (84, 230, 100)).max() < 5, 'the first colour of the palette'
    assert np.abs(outside - SQUARES['red']).max() < 40 and BAND > 0
