# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos that we write: every encoder, size and timing gives a file that plays."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros.io import video_encoders
from tam_ros.io.video_writer import VideoWriteError, VideoWriter

HAS_AV = importlib.util.find_spec('av') is not None
CODECS = {
    'H.264': pytest.param(
        'H.264',
        marks=pytest.mark.skipif(
            not HAS_AV, reason='PyAV is not installed: make test installs it'
        ),
    ),
    'VP9': 'VP9',
    'MPEG-4': 'MPEG-4',
}


@pytest.fixture(params=CODECS.values())
def codec(request, monkeypatch) -> str:
    """Leave only this encoder and those that are worse; return its name."""
    if request.param != 'H.264':
        monkeypatch.setattr(video_encoders, '_h264_encoder', lambda: None)
    if request.param == 'MPEG-4':
        monkeypatch.setattr(video_encoders, '_OPENCV', video_encoders._OPENCV[1:])
    return request.param


def ramp(size: tuple[int, int], level: int = 0) -> np.ndarray:
    """Return a picture [H, W, 3] that is darker on the left than on the right."""
    height, width = size
    row = np.linspace(40, 160, width).astype(np.uint8) + np.uint8(level)
    return np.ascontiguousarray(np.broadcast_to(row[:, None], (height, width, 3)))


def read(path: Path) -> tuple[list[np.ndarray], list[float], str]:
    """Return the frames of a video, their times in milliseconds, and the code of the codec."""
    capture = cv2.VideoCapture(str(path))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little').decode()
    frames, times = [], []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        frames.append(capture.retrieve()[1][..., ::-1])
    capture.release()
    return frames, times, code


def test_codec(tmp_path, codec, caplog):
    with VideoWriter(tmp_path / 'o.mp4', 10) as writer:
        for level in range(5):
            writer.write(ramp((120, 160), 10 * level))
    assert writer.codec == codec
    frames, times, code = read(tmp_path / 'o.mp4')
    assert (
        code
        in {'H.264': ('h264', 'avc1'), 'VP9': ('vp09', 'VP90'), 'MPEG-4': ('mp4v', 'FMP4')}[codec]
    )
    assert times == pytest.approx([0, 100, 200, 300, 400], abs=1)
    for level, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - ramp((120, 160), 10 * level)).mean() < 6
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (codec != 'H.264')
    assert all(
        f'o.mp4 is encoded as {codec}' in line and 'pip install av' in line for line in said
    )


@pytest.mark.parametrize(
    ('size', 'written'),
    [
        ((121, 161), (122, 162)),
        ((1, 160), (16, 160)),
        ((160, 1), (160, 16)),
        ((1, 1), (16, 16)),
        ((15, 17), (16, 18)),
        ((2, 16000), (16, 4000)),
        ((9001, 30), (3000, 16)),
    ],
)
def test_sizes(tmp_path, codec, size, written):
    with VideoWriter(tmp_path / 'o.mp4', 10) as writer:
        for _ in range(3):
            writer.write(ramp(size))
    frames, _, _ = read(tmp_path / 'o.mp4')
    assert len(frames) == 3
    assert frames[0].shape[:2] == written
    if size[1] > 100:  # nothing is cut off
        assert frames[0][0, :4].mean() == pytest.approx(40, abs=8)
        assert frames[0][0, written[1] - 4 :].mean() == pytest.approx(160, abs=8)


def test_large_pictures_are_reported_once(tmp_path, caplog):
    with VideoWriter(tmp_path / 'o.mp4', 10) as writer:
        for _ in range(3):
            writer.write(ramp((2, 16000)))
    lines = [line for line in caplog.messages if 'cannot be played everywhere' in line]
    assert len(lines) == 1 and 'o.mp4 has frames of 4000x16 pixels' in lines[0]


def written_times(tmp_path, stamps, rate_hz=None) -> list[float]:
    with VideoWriter(tmp_path / 'o.mp4', rate_hz) as writer:
        for stamp in stamps:
            writer.write(ramp((32, 32)), None if stamp is None else round(stamp * 1e9))
    _, times, _ = read(tmp_path / 'o.mp4')
    return [round(time / 1000, 3) for time in times]


@pytest.mark.skipif(not HAS_AV, reason='PyAV is not installed: make test installs it')
@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ([5, 5.1, 5.3, 5.35], [0, 0.1, 0.3, 0.35]),  # a variable frame rate
        ([1.7e9, 1.7e9 + 0.1, 1.7e9 + 0.2], [0, 0.1, 0.2]),
        ([0, 1.7e9, 1.7e9 + 0.1, 1.7e9 + 0.2], [0, 0.1, 0.2, 0.3]),  # recorded before the clock
        ([5, 5.1, 2, 2.1, 2.1, 2.2], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),  # steps back, repeated
        ([0, 0.1, 30, 30.1], [0, 0.1, 30, 30.1]),  # a pause
        ([0, 0.1, 0.2, 3600], [0, 0.1, 0.2, 0.3]),  # a pause that nobody would watch
        ([None, None, None], [0, 0.033, 0.067]),
    ],
)  # fmt: skip
def test_times_are_those_of_the_stamps(tmp_path, stamps, expected):
    assert written_times(tmp_path, stamps) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(
    ('interval', 'rate_hz', 'shown'),
    [(0.05, None, 20), (200, None, 30), (0.001, None, 30), (200, 0.005, 30), (0.04, 25, 25)],
)
def test_rate(tmp_path, codec, caplog, interval, rate_hz, shown):
    """Without a rate it is that of the stamps; one that nobody could watch becomes 30."""
    times = written_times(tmp_path, [interval * index for index in range(14)], rate_hz)
    assert times == pytest.approx([index / shown for index in range(14)], abs=0.002)
    assert ('shows 30 frames per second' in caplog.text) == (shown == 30)


def test_one_frame_has_no_rate(tmp_path, codec):
    assert written_times(tmp_path, [17]) == [0]


def test_video_without_frames(tmp_path):
    VideoWriter(tmp_path / 'o.mp4').close()
    assert list(tmp_path.iterdir()) == []


def test_no_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(video_encoders, '_h264_encoder', lambda: None)
    monkeypatch.setattr(cv2.VideoWriter, 'isOpened', lambda _: False)
    message = r'o\.mp4 cannot be written: .*pip install av'
    with (
        pytest.raises(VideoWriteError, match=message),
        VideoWriter(tmp_path / 'o.mp4', 10) as writer,
    ):
        writer.write(ramp((32, 32)))
    assert list(tmp_path.iterdir()) == []
