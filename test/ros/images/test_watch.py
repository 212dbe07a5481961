# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is logged about a stream of images."""

from __future__ import annotations

import pytest

from tam_ros.ros.images.watch import Watch


class Stream:
    """A watch that is called twice a second; the lines that it wants to log."""

    def __init__(self):
        self.watch = Watch('image')
        self.lines = []
        self.reason = 'nobody publishes /image'
        self.mixed = ''
        self.heard = True

    def run(self, seconds, received=0, lost=0):
        """Let time pass; `received` and `lost` are images per half second."""
        begin = len(self.lines)
        for _ in range(int(2 * seconds)):
            self.lines += self.watch.look(
                0.5,
                received,
                lost,
                topic='/image',
                timeout_s=2.0,
                mixed=self.mixed,
                heard=self.heard,
                explain=lambda: self.reason,
                remedy='use the profile',
            )
        return [text for _, text in self.lines[begin:]]


@pytest.fixture
def stream():
    return Stream()


def test_images_that_never_arrive_are_explained_once(stream):
    stream.heard = False
    assert stream.run(2) == []
    assert stream.run(600) == ['no image on /image so far: nobody publishes /image']
    assert stream.watch.problem == 'nobody publishes /image'
    stream.reason, stream.heard = '/driver publishes on /image, but nothing arrives', True
    assert stream.run(600) == [f'no image on /image so far: {stream.reason}']
    assert all(line.warning for line in stream.lines)
    assert stream.run(1, received=5) == [], 'the node says itself that the first image arrived'
    assert stream.watch.problem == ''


def test_a_new_camera_has_time_for_its_first_image(stream):
    stream.heard = False
    stream.run(60)
    stream.reason, stream.heard = '/driver publishes on /image, but nothing arrives', True
    assert stream.run(1.5) == []
    assert stream.watch.problem == ''
    assert stream.run(60, received=5) == []


def test_what_is_discovered_in_parts_is_said_once(stream):
    stream.heard = False
    stream.run(2)
    for index in range(4):
        stream.reason = f'images are on {index} topics'
        assert stream.run(0.5) == []
    assert stream.run(60) == ['no image on /image so far: images are on 3 topics']


def test_each_silence_of_a_camera_and_its_return_are_one_line_each(stream):
    for _ in range(3):
        stream.heard = True
        stream.run(4, received=5)
        stream.heard = False
        assert stream.run(10) == ['no image on /image for 2.5 s: nobody publishes /image']
        assert stream.run(1, received=5) == ['images arrive again on /image after 10.0 s']
    assert [line.warning for line in stream.lines] == [True, False] * 3


def test_a_camera_slower_than_the_timeout_is_not_reported_for_every_image(stream):
    for _ in range(10):
        stream.run(0.5, received=1)
        stream.run(4)
    assert len(stream.lines) == 2, 'the first silence and its end'
    assert len(stream.run(10)) == 1, 'an unusual silence'


def test_mixed_publishers_are_reported_while_images_arrive(stream):
    stream.mixed = '2 publishers on /image'
    assert stream.run(600, received=5) == ['2 publishers on /image']
    assert stream.watch.problem == '2 publishers on /image'
    stream.mixed = ''
    stream.run(1, received=5)
    assert stream.watch.problem == ''


def test_losses_are_reported_once_a_minute_with_the_remedy(stream):
    lines = stream.run(59, received=4, lost=6)
    assert lines == ['of the last 100 images 60 were lost in transport: use the profile']
    assert len(stream.run(10, received=4, lost=6)) == 1
    assert stream.run(600, received=99, lost=1) == [], 'a few may be lost'
