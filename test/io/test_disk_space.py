# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Free space is checked before a write, and the check leaves the file unchanged."""

from __future__ import annotations

import errno
import os
import resource
import subprocess

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from tam_ros.io import video_encoders
from tam_ros.io.bag_writer import BagWriteError, BagWriter
from tam_ros.io.disk_space import ensure_room
from tam_ros.io.frames import Header
from tam_ros.io.open_source import open_source
from tam_ros.io.video_writer import VideoWriteError, VideoWriter


@pytest.fixture
def limited():
    """Limit the size of files to 2 MB while the test runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    yield 2_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only root may mount a small disk here')
    yield disk
    subprocess.run(['umount', '-l', str(disk)], check=True)


def test_checking_for_room_leaves_the_file_unchanged(tmp_path, limited):
    path = tmp_path / 'file'
    path.write_bytes(b'abc')
    ensure_room(path, limited - 3)
    assert path.read_bytes() == b'abc'
    with pytest.raises(OSError) as error:
        ensure_room(path, limited - 2)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == b'abc'


@pytest.mark.parametrize('size', [10**6, 10**18])
def test_a_file_system_without_allocation(tmp_path, monkeypatch, size):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, 'Operation not supported')

    monkeypatch.setattr(os, 'posix_fallocate', unsupported)
    path = tmp_path / 'file'
    path.write_bytes(b'abc')
    if size == 10**6:
        ensure_room(path, size)
    else:
        with pytest.raises(OSError, match='No space left'):
            ensure_room(path, size)
    assert path.read_bytes() == b'abc'


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (240, 320, 3), np.uint8)


def test_bag_on_a_full_disk(small_disk):
    path = small_disk / 'out.mcap'
    written = 0
    with pytest.raises(BagWriteError, match='No space left on device'), BagWriter(path) as bag:
        for index in range(60):
            bag.write_image('/image', Header(index + 1, ''), noise(index))
            written += 1
    assert 10 < written < 36  # 36 alone fill the disk
    with AnyReader([path]) as reader:
        assert reader.message_count == written
        last = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()][-1]
    np.testing.assert_array_equal(last.data.reshape(240, 320, 3), noise(written - 1))
    assert [item.name for item in small_disk.iterdir()] == ['out.mcap']


def test_video_on_a_full_disk(small_disk, monkeypatch):
    # Without PyAV the fast encoder, not VP9, which takes a minute for noise.
    monkeypatch.setattr(video_encoders, '_OPENCV', video_encoders._OPENCV[1:])
    (small_disk / 'other file').write_bytes(bytes(6_500_000))
    path = small_disk / 'out.mp4'
    written = 0
    with pytest.raises(VideoWriteError, match='No space left'), VideoWriter(path, 10) as video:
        for index in range(200):
            video.write(noise(index))
            written += 1
    assert 3 < written < 200
    assert len(list(open_source(path))) == written
