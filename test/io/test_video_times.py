# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The times of video frames are the decoder's; what a header says of number and rate is a hint."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros.io import video
from tam_ros.io.frames import SourceError
from tam_ros.io.image_folder import ImageFolder
from tam_ros.io.video import VideoSource
from tam_ros.io.video_container import is_truncated


class FakeCapture:
    """A `cv2.VideoCapture` of black frames."""

    times: list[float] = []  # milliseconds
    header = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: 0.0}

    def __init__(self, path, backend):
        self.index = -1

    def isOpened(self):  # noqa: N802
        return True

    def release(self):
        pass

    def grab(self):
        self.index += 1
        return self.index < len(self.times)

    def read(self):
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.grab() else (False, None)

    def get(self, what):
        return (
            self.times[self.index] if what == cv2.CAP_PROP_POS_MSEC else self.header.get(what, 0.0)
        )


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Open a fake video."""

    def open_fake(times, fps=30.0, count=0.0, **options):
        path = tmp_path / 'clip.mkv'
        path.write_bytes(b'\0fake')
        header = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
        capture = type('Capture', (FakeCapture,), {'times': times, 'header': header})
        monkeypatch.setattr(video.cv2, 'VideoCapture', capture)
        return VideoSource(path, **options)

    return open_fake


def milliseconds(source):
    return [round(frame.header.stamp_ns / 1e6, 3) for frame in source]


EVEN = [index * 1000 / 30 for index in range(20)]


def test_a_variable_rate(opened):
    times = [0, 33, 67, 100, 133, 333, 533, 733, 933, 966, 1000, 1033]
    source = opened(times, fps=11.25)
    assert milliseconds(source) == times
    assert source.rate_hz == 11.25  # the average, so that a video of it takes as long


def test_a_rate_that_is_asked_for_replaces_the_times(opened):
    assert milliseconds(opened([0, 500, 700], rate_hz=10)) == [0, 100, 200]


def test_times_start_at_zero(opened):
    assert milliseconds(opened([400, 433, 467])) == [0, 33, 67]


def test_repeated_and_backward_times_are_spaced(opened):
    stamps = milliseconds(opened([0, 40, 80, 80, 60, 200], fps=25.0))
    assert stamps == [0, 40, 80, 120, 160, 200]


@pytest.mark.parametrize('fps', [25.0, 0.0, float('nan'), 90000.0, 1000.0])
def test_no_times_at_all(opened, fps, caplog):
    source = opened([0.0] * 5, fps=fps)
    rate = 25 if fps == 25 else 30
    assert source.rate_hz == rate
    assert milliseconds(source) == [round(index * 1000 / rate, 3) for index in range(5)]
    assert ('30 frames per second are assumed' in caplog.text) == (fps != 25)


@pytest.mark.parametrize('fps', [0.0, 0.001, 1000.0, 90000.0, 3.0])
def test_a_header_rate_that_the_times_deny(opened, fps):
    source = opened(EVEN, fps=fps)
    assert source.rate_hz == pytest.approx(30)
    assert milliseconds(source) == pytest.approx(EVEN, abs=0.001)


@pytest.mark.parametrize('interval', [1 / 90, 1, 1e6])
def test_times_that_follow_from_an_absurd_header(opened, interval):
    source = opened([index * interval for index in range(20)], fps=1000 / interval)
    assert source.rate_hz == 30
    assert milliseconds(source) == pytest.approx(EVEN, abs=0.001)


@pytest.mark.parametrize('count', [-2.767e17, 0, float('nan'), 1e15, 3, 5000])
def test_the_number_of_frames_in_the_header_is_a_hint(opened, count):
    source = opened(EVEN, count=count)
    assert len(list(source)) == source.count_frames() == 20
    assert source.count == (int(count) if count in (3, 5000) else None)


def test_a_video_with_more_frames_than_its_header_says_can_be_prompted_there(opened):
    from tam_ros.prompting.prompt_text import PromptSpecError, parse_prompts
    from tam_ros.recordings import offline

    class Accepting:
        objects = ()

        def check(self, prompt, size):
            pass

    source = opened(EVEN, count=3)
    offline.check(
        Accepting(), source, map(offline.written_prompt, parse_prompts('1:point:1,1@19'))
    )
    with pytest.raises(PromptSpecError, match='is for frame 20, but the frames are 0 to 19'):
        offline.check(
            Accepting(), source, map(offline.written_prompt, parse_prompts('1:point:1,1@20'))
        )


# --- truncated files ---


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I4s', 8 + len(content), kind) + content


MP4 = box(b'ftyp', b'isom') + box(b'moov', bytes(40)) + box(b'mdat', bytes(100))
LARGE = box(b'ftyp', b'isom') + struct.pack('>I4sQ', 1, b'mdat', 16 + 50) + bytes(50)
OPEN = box(b'ftyp', b'isom') + struct.pack('>I4s', 0, b'mdat') + bytes(50)
AVI = b'RIFF' + struct.pack('<I', 50) + b'AVI ' + bytes(46)
AVI_2 = AVI + b'RIFF' + struct.pack('<I', 30) + b'AVIX' + bytes(26)
EBML = b'\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67'
MKV, LIVE = EBML + b'\x40\x64' + bytes(100), EBML + b'\x01' + b'\xff' * 7 + bytes(100)


@pytest.mark.parametrize('content', [MP4, LARGE, OPEN, AVI, AVI_2, MKV, LIVE])
def test_truncated_containers(tmp_path, content):
    path = tmp_path / 'video'
    path.write_bytes(content)
    assert not is_truncated(path)
    path.write_bytes(content[:-5])
    # The end of a live recording is open.
    assert is_truncated(path) == (content not in (OPEN, LIVE))


@pytest.mark.parametrize('content', [b'\x47' * 188 * 3, b'', b'FLV\x01', bytes(7)])
def test_other_files_are_not_called_truncated(tmp_path, content):
    (tmp_path / 'video').write_bytes(content)
    assert not is_truncated(tmp_path / 'video')


# --- names of images that are times ---


def folder_of(folder: Path, *stems: str) -> ImageFolder:
    for stem in stems:
        cv2.imwrite(str(folder / f'{stem}.png'), np.zeros((4, 4, 3), np.uint8))
    return ImageFolder(folder)


@pytest.mark.parametrize(
    'stems',
    [
        ('1305031102.175304', '1305031102.2', '1305031102.25'),
        ('1305031102.175304', '1305031102.211214', '1305031102.243211'),
        ('rgb_1305031102175304000', 'rgb_1305031102211214000', 'rgb_1305031102243211000'),
        ('1305031102175304', '1305031102211214', '1305031102243211'),
        ('1305031102175', '1305031102211', '1305031102243'),
    ],
)
def test_names_that_are_times(tmp_path, stems):
    source = folder_of(tmp_path, *stems)
    frames = list(source)
    if stems[1].endswith('.2'):  # too few digits to be sure
        assert frames[1].header.stamp_ns == 33_333_333
        return
    assert frames[0].header.stamp_ns // 10**6 == 1305031102175
    assert [one.header.stamp_ns // 10**6 - 1305031102175 for one in frames] == [0, 36, 68]
    assert source.rate_hz == pytest.approx(27.8, abs=4)
    assert list(ImageFolder(tmp_path, 10))[1].header.stamp_ns == 10**8


def test_seconds_from_the_start(tmp_path):
    frames = list(folder_of(tmp_path, '0.000000', '0.040000', '10.000000', '9.960000'))
    assert [frame.stamp for frame in frames] == [0, 0.04, 9.96, 10]


@pytest.mark.parametrize(
    'stems',
    [
        ('00000', '00001', '00002'),
        ('shot1.0001', 'shot1.0002', 'shot1.0003'),
        ('0000000000001', '0000000000002', '0000000000003'),
        ('a_1305031102.175304', 'b_1305031102.211214', 'c_1305031102.311214'),
    ],
)
def test_names_that_are_no_times(tmp_path, stems):
    assert [one.header.stamp_ns for one in folder_of(tmp_path, *stems)] == [
        0,
        33_333_333,
        66_666_667,
    ]


def test_a_truncated_video_is_reported_after_its_frames(opened, monkeypatch):
    monkeypatch.setattr(video, 'is_truncated', lambda path: True)
    source = opened(EVEN, count=40)
    frames = iter(source)
    for _ in EVEN:
        next(frames)
    with pytest.raises(SourceError, match='its header gives 40 frames, but only 20 can be read'):
        next(frames)
