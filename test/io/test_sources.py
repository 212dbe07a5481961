# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos and image folders: their frames, and the errors of damaged ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.io.video_writer import VideoWriteError, VideoWriter
from tam_ros.new_output import OutputError

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def data(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'../shared/data/{"/".join(parts)} is not here')
    return path


def grey(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def write_video(path: Path, frames: int = 12, rate_hz: float = 10) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(path, rate_hz) as writer:
        for index in range(frames):
            noise = rng.integers(0, 30, (120, 160, 3), np.uint8)
            writer.write(grey(20 * index, (120, 160)) + noise)
    return path


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), grey(10 * index))
    return folder


# --- videos ---


def test_video(tmp_path):
    source = open_source(write_video(tmp_path / 'a clip.mp4'))
    frames = list(source)
    assert (source.count, source.rate_hz, len(frames)) == (12, 10, 12)
    assert [frame.stamp for frame in frames] == pytest.approx(np.arange(12) / 10)
    assert frames[0].rgb.shape == (120, 160, 3) and frames[0].rgb.dtype == np.uint8
    assert [frame.rgb.mean() for frame in frames] == pytest.approx(
        20 * np.arange(12) + 14.5, abs=4
    )
    assert len(list(source)) == 12  # and again from the start


def test_video_colours_are_rgb(tmp_path):
    with VideoWriter(tmp_path / 'red.mp4', 5) as writer:
        writer.write(np.full((64, 64, 3), (200, 30, 60), np.uint8))
    (frame,) = open_source(tmp_path / 'red.mp4')
    assert frame.rgb.mean(axis=(0, 1)) == pytest.approx((200, 30, 60), abs=8)


def test_video_rate_can_be_replaced(tmp_path):
    source = open_source(write_video(tmp_path / 'clip.mp4'), rate_hz=25)
    assert [frame.stamp for frame in source][-1] == pytest.approx(11 / 25)


def test_truncated_video_yields_its_frames_and_then_fails(tmp_path):
    # AVI has its index at the end but does not need it, so that a cut file still opens.
    path = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for level in range(30):
        writer.write(grey(8 * level, (120, 160)))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = []
    with pytest.raises(SourceError, match='truncated or damaged: its header gives 30 frames'):
        for frame in open_source(path):
            read.append(frame)
    assert 5 < len(read) < 25


def break_mp4(path: Path) -> None:
    path.write_bytes(write_video(path).read_bytes()[:2000])


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_bytes(b''), 'is empty'),
        (lambda path: path.write_bytes(b'no video at all' * 99), 'is text, not a video'),
        (lambda path: path.write_bytes(b'\0' * 999), 'cannot be opened as a video'),
        (break_mp4, 'cannot be opened as a video'),  # the index of an MP4 is at its end
    ],
)
def test_unreadable_video(tmp_path, make, words):
    path = tmp_path / 'clip.mp4'
    make(path)
    with pytest.raises(SourceError, match=words) as error:
        list(open_source(path))
    assert 'clip.mp4' in str(error.value)


@pytest.mark.parametrize('rate', [0, -5, float('nan'), float('inf'), 1e6])
def test_unusable_rate(tmp_path, rate):
    with pytest.raises(SourceError, match='not usable'):
        open_source(write_video(tmp_path / 'clip.mp4'), rate_hz=rate)


@pytest.mark.parametrize(('name', 'frames'), [('01_dog.mp4', 289), ('16_robotarm.mp4', 250)])
def test_real_video(name, frames):
    source = open_source(data('videos', name))
    assert source.count == frames
    iterator = iter(source)
    first, second = next(iterator), next(iterator)
    assert first.rgb.shape == (720, 1280, 3)
    assert 0 < second.stamp - first.stamp < 0.1
    assert first.rgb.std() > 10


# --- writing videos ---


@pytest.mark.parametrize(
    ('name', 'words'), [('out.avi', r'end in \.mp4'), ('no such folder/out.mp4', 'not a folder')]
)
def test_video_that_cannot_be_written(tmp_path, name, words):
    with pytest.raises(OutputError, match=words):
        VideoWriter(tmp_path / name, 10)


def test_video_frames_must_keep_their_size(tmp_path):
    with VideoWriter(tmp_path / 'out.mp4', 10) as writer:
        writer.write(grey(0))
        with pytest.raises(VideoWriteError, match='does not fit'):
            writer.write(grey(0, (50, 64)))


def test_video_is_complete_after_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / 'out.mp4', 10) as writer:
        for level in range(7):
            writer.write(grey(level))
        raise KeyboardInterrupt
    assert len(list(open_source(tmp_path / 'out.mp4'))) == 7


# --- folders of images ---


def test_image_folder_in_natural_order(tmp_path):
    names = ['1.png', '2.png', '10.jpg', '9.PNG']
    folder = write_images(tmp_path / 'frames', names)
    (folder / 'notes.txt').write_text('not an image')
    source = open_source(folder)
    levels = [round(float(frame.rgb.mean())) for frame in source]
    assert levels == [0, 10, 30, 20]
    assert [frame.stamp for frame in source] == pytest.approx(np.arange(4) / 30)
    assert source.count == 4


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'no data'),
        (b'not an image', 'not in a known image format'),
        (cv2.imencode('.jpg', grey(3))[1].tobytes()[:-20], 'truncated'),
    ],
)
def test_broken_image_is_named(tmp_path, content, words):
    folder = write_images(tmp_path / 'frames', ['1.jpg', '2.jpg'])
    (folder / '2.jpg').write_bytes(content)
    with pytest.raises(SourceError, match=words) as error:
        list(open_source(folder))
    assert '2.jpg' in str(error.value)


def test_folder_without_images(tmp_path):
    (tmp_path / 'notes.txt').write_text('nothing')
    with pytest.raises(SourceError, match='has no image file'):
        open_source(tmp_path)


def test_real_folder():
    source = open_source(data('JPEGImages', 'dog'), rate_hz=24)
    frames = list(source)
    assert len(frames) == 60 and frames[0].rgb.shape == (480, 854, 3)


def test_a_topic_is_refused(tmp_path):
    with pytest.raises(SourceError, match='is not a bag'):
        open_source(write_video(tmp_path / 'clip.mp4'), topic='/image')
