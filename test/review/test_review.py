# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which moments are found in the course of an object, and what the pages show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from browser import chromium
from tracking.fake_runtime import FakeRuntime

from tam_ros import loading
from tam_ros.cli import main
from tam_ros.io.frames import SourceError
from tam_ros.review.moments import chosen, courses, evenly, moments
from tam_ros.review.results import LabelledFrame, LabelledObject, Results

SIZE = (60, 120)


def frame(place: int | None, size: int = 12, score: float | None = 1.0, also: int | None = None):
    """Return a frame with object 2 as a square at column `place`, and another part of it."""
    labels = np.zeros(SIZE, np.uint8)
    if place is not None:
        labels[10 : 10 + size, place : place + size] = 2
    if also is not None:
        labels[40:52, also : also + 12] = 2
    state = 'occluded' if place is None else 'visible'
    return LabelledFrame(0, labels, (LabelledObject(2, state, score),))


def found(*frames):
    (course,), count = courses(frames)
    assert count == len(frames)
    return [(one.frame, one.what) for one in moments(course)]


def test_steady_objects_need_no_look():
    assert found(*(frame(10 + 2 * step) for step in range(20))) == []


def test_absence_and_return():
    frames = [frame(10)] * 6 + [frame(None)] * 6 + [frame(10)] * 3
    assert found(*frames) == [(6, 'not visible'), (12, 'found again')]


def test_jumps():
    assert found(*[frame(10)] * 6, *[frame(60)] * 6) == [(6, 'jumps by 4.2 of its size')]


def test_sudden_sizes():
    assert found(*[frame(40)] * 6, frame(40, 24)) == [(6, 'grows to 4 of its area')]
    assert found(*[frame(40, 24)] * 6, frame(40, 12)) == [(6, 'shrinks to 0.25 of its area')]


def test_parts():
    frames = [frame(10)] * 6 + [frame(10, 20, also=20)] * 6
    assert found(*frames)[0][0] == 6 and 'falls apart: 26% elsewhere' in found(*frames)[0][1]


def test_scores():
    assert found(*[frame(10)] * 6, frame(10, score=0.3)) == [(6, 'score falls to 0.30')]
    assert found(*[frame(10, score=None)] * 6) == []


def test_one_event_is_one_moment():
    frames = [frame(10)] * 6 + [frame(60, score=0.4), frame(None)]
    assert len(found(*frames)) == 1
    assert found(*frames)[0][1] == 'jumps by 4.2 of its size; score falls to 0.40; not visible'


def test_the_heaviest_are_chosen():
    (course,), _ = courses([*[frame(10)] * 6, *[frame(60)] * 6, *[frame(None)] * 6])
    assert [one.frame for one in chosen(moments(course), 1)] == [6]
    assert evenly(100, 3) == [0, 50, 99] and evenly(2, 3) == [0, 1]


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A folder of pictures of a square that moves, and a fake model."""
    monkeypatch.setattr(loading, 'open_runtime', lambda *_, **__: FakeRuntime())
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    folder = tmp_path / 'clip & co'
    folder.mkdir()
    for index in range(10):
        picture = np.full((*SIZE, 3), 80, np.uint8)
        picture[20:40, 10 + 3 * index : 30 + 3 * index] = 250
        cv2.imwrite(str(folder / f'cam_{index}.png'), picture)
    return folder


@pytest.mark.parametrize('name', ['out.mcap', 'masks'])
def test_a_page_of_results(clip, tmp_path, name, capsys):
    prompt = ['--prompt', '1:box:10,20,30,40']
    assert main(['track', str(clip), *prompt, '--out', str(tmp_path / name)]) == 0
    page = tmp_path / 'page.html'
    command = ['review', str(tmp_path / name), '--source', str(clip), '--out', str(page)]
    assert main(command) == 0
    assert main(command) == 2 and 'exists' in capsys.readouterr().err
    text = page.read_text()
    assert text.count('<img ') >= 10 and 'no picture' not in text and len(text) < 300_000
    assert 'http' not in text.replace('http-equiv', '')  # nothing is fetched from elsewhere
    with chromium() as browser:
        opened = browser.new_page()
        opened.goto(page.as_uri())
        assert opened.title() == name
        loaded = 'Array.from(document.images).every(i => i.complete && i.naturalWidth > 50)'
        opened.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        opened.wait_for_function(loaded)
        label = opened.locator('svg').first.get_attribute('aria-label')
        assert label is not None and label.startswith('object 1, visible on ')
        for mark in opened.locator('svg a').all():
            target = mark.get_attribute('href')
            assert target is not None and opened.locator(f'[id="{target[1:]}"]').count() == 1


def test_without_the_recording(clip, tmp_path):
    out = tmp_path / 'masks'
    assert main(['track', str(clip), '--prompt', '1:box:10,20,30,40', '--out', str(out)]) == 0
    assert main(['review', str(out)]) == 0
    assert 'no picture' in (tmp_path / 'masks_review.html').read_text()


def test_pages_of_a_job(clip, tmp_path, capsys):
    job = tmp_path / 'job.yaml'
    job.write_text(
        "recordings: [{source: clip*, prompts: ['1:box:10,20,30,40']}]\n"
        'output: out\nwrite: [yolo, bag]\nmodel: efficienttam_nano\n'
    )
    assert main(['label', str(job), '--workers', '1']) == 0
    assert main(['review', str(tmp_path / 'out')]) == 0
    assert main(['review', str(tmp_path / 'out')]) == 0  # pages are replaced
    index = (tmp_path / 'out/review/index.html').read_text()
    assert 'href="clip_co.html"' in index
    assert '<img ' in (tmp_path / 'out/review/clip_co.html').read_text()
    for file in clip.iterdir():
        file.unlink()
    assert main(['review', str(tmp_path / 'out')]) == 0
    assert 'no pictures: ' in (tmp_path / 'out/review/clip_co.html').read_text()


def test_what_is_no_result(tmp_path, clip, capsys):
    (tmp_path / 'empty').mkdir()
    for path in ('missing', 'empty', 'clip & co'):
        assert main(['review', str(tmp_path / path)]) == 2
        assert 'tam: ' in capsys.readouterr().err
    with pytest.raises(SourceError, match='does not exist'):
        Results(tmp_path / 'missing')
