# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track` that ends early: damaged sources, full disks, Ctrl-C. The outputs are complete."""

from __future__ import annotations

import contextlib
import errno
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bagdata import read_bag
from PIL import Image

from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import Header
from tam_ros.io.open_source import open_source
from tam_ros.io.video_writer import VideoWriter
from tam_ros.tracking import Tracker

POINT = ('--prompt', '1:point:50,60')


def contents(path: Path) -> int:
    """Open an output as users would; return its number of frames."""
    if path.suffix == '.mcap':
        return len(read_bag(path)['/track_node/objects'])
    if path.suffix == '.mp4':
        return len(list(open_source(path)))
    if path.suffix == '.json':
        coco = pytest.importorskip('pycocotools.coco', reason='pycocotools is not installed')
        return len(coco.COCO(str(path)).imgs)
    for file in path.iterdir():
        assert file.suffix == '.png'
        with Image.open(file) as image:
            image.load()
    return len(list(path.iterdir()))


@contextlib.contextmanager
def files_up_to(size: int):
    """Limit files to `size` bytes, with the effect of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- damaged sources ---


def test_truncated_video(tam, tmp_path, pictures, capsys):
    path = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for rgb in np.concatenate([pictures, pictures]):
        writer.write(rgb)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outputs = [tmp_path / 'out.mcap', tmp_path / 'out.mp4']
    assert tam(path, *POINT, '--out', outputs[0], '--overlay', outputs[1]) == 2
    captured = capsys.readouterr()
    assert 'truncated or damaged' in captured.err
    frames = contents(outputs[0])
    assert 4 <= frames < 14 and contents(outputs[1]) == frames
    assert f'out.mcap: {frames} frames' in captured.out


@pytest.mark.parametrize('place', ['file', 'folder'])
def test_truncated_mcap(tam, tmp_path, capsys, place):
    """The end of the file is missing, with the index and the last messages."""
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / 'drive') as bag:
        for index in range(12):
            header = Header(10**9 + index * 10**8, 'camera')
            bag.write_image('/image', header, rng.integers(0, 255, (300, 400, 3), np.uint8))
            if index % 2:
                bag.write_labels('/side', header, np.zeros((300, 400), np.uint8))
    file = tmp_path / 'drive' / 'drive.mcap'
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    source = file if place == 'file' else tmp_path / 'drive'
    out = tmp_path / 'out.mcap'
    topic = ('--topic', '/image')
    assert tam(source, *topic, *POINT, '--out', out, '--copy', 'all') == 2
    captured = capsys.readouterr()
    assert 'drive.mcap is truncated' in captured.err
    messages = read_bag(out)
    frames = len(messages['/track_node/objects'])
    assert 5 <= frames < 12
    assert len(messages['/image']) == frames
    assert frames // 2 - 1 <= len(messages['/side']) <= frames // 2  # one chunk may end between
    # The recording ends at the damage.
    beyond = ('--prompt', f'1:point:5,5@{frames}')
    assert tam(source, *topic, *beyond, '--out', tmp_path / 'no.mcap') == 2
    assert f'the frames are 0 to {frames - 1}' in capsys.readouterr().err


def test_images_that_change_their_size(frames, tam, tmp_path, capsys):
    cv2.imwrite(str(frames / 'cam_5.png'), np.zeros((60, 60, 3), np.uint8))
    assert tam(frames, *POINT, '--out', tmp_path / 'out.mcap') == 2
    assert 'frame 5: the image is 60x60' in capsys.readouterr().err
    assert contents(tmp_path / 'out.mcap') == 5


def test_a_damaged_image(frames, tam, tmp_path, capsys):
    (frames / 'cam_6.png').write_bytes(b'')
    assert tam(frames, *POINT, '--out', tmp_path / 'masks') == 2
    assert 'cam_6.png cannot be read' in capsys.readouterr().err
    assert contents(tmp_path / 'masks') == 6


# --- full disks ---


@pytest.mark.parametrize(
    ('name', 'limit'), [('out.mcap', 5_500_000), ('out.mp4', 1_500_000), ('out.json', 8_000)]
)
def test_disk_full(tam, tmp_path, capsys, name, limit):
    noise = np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3), np.uint8)
    source = tmp_path / 'frames'
    source.mkdir()
    for index, rgb in enumerate(noise):
        cv2.imwrite(str(source / f'{index}.png'), rgb)
    out = tmp_path / name
    options = ['--overlay' if out.suffix == '.mp4' else '--out', out]
    if out.suffix == '.mcap':
        options += ['--copy', 'all']
    box = ('--prompt', '1:box:50,60,150,160')
    with files_up_to(limit):
        assert tam(source, *box, *options) == 2
    captured = capsys.readouterr()
    assert f'{name} cannot be written any further: File too large' in captured.err
    left = sorted(path.name for path in tmp_path.iterdir())
    if name == 'out.mp4' and not out.exists():
        # The encoder keeps more frames in memory than fit here.
        assert left == ['frames'] and 'out.mp4: ' not in captured.out
        return
    frames = contents(out)
    assert 1 <= frames < 20
    assert f'{name}: {frames} frame' in captured.out
    assert left == ['frames', name]


def test_disk_full_of_masks(video, tam, tmp_path, capsys, monkeypatch):
    write = Path.write_bytes

    def write_few(path: Path, data: bytes) -> int:
        if path.name == '00003.png.part':
            write(path, data[:20])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', write_few)
    assert tam(video, *POINT, '--out', tmp_path / 'masks') == 2
    assert '00003.png cannot be written: No space left on device' in capsys.readouterr().err
    assert contents(tmp_path / 'masks') == 3


# --- interruptions ---


@pytest.mark.parametrize('name', ['out.mcap', 'out.json', 'masks'])
def test_interrupted_in_the_middle_of_a_frame(video, tam, tmp_path, monkeypatch, name):
    step = Tracker.step

    def interrupted(self, image, stamp, prompts=()):
        if stamp > 0.45:
            raise KeyboardInterrupt
        return step(self, image, stamp, prompts)

    monkeypatch.setattr(Tracker, 'step', interrupted)
    outputs = [tmp_path / name, tmp_path / 'o.mp4']
    assert tam(video, *POINT, '--out', outputs[0], '--overlay', outputs[1]) == 130
    assert [contents(path) for path in outputs] == [5, 5]


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_real_signals(graphs, tmp_path, pictures, number, status):
    """Ctrl-C, also twice, ends it with complete files and the usual exit status."""
    with VideoWriter(tmp_path / 'long.mp4', 10) as writer:
        for index in range(300):
            writer.write(pictures[index % len(pictures)])
    outputs = [tmp_path / 'out.mcap', tmp_path / 'out.mp4']
    command = [sys.executable, '-m', 'tam_ros.cli', 'track', tmp_path / 'long.mp4', *POINT]
    command += ['--weights', graphs, '--threads', '1']
    command += ['--out', outputs[0], '--overlay', outputs[1]]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('out.mp4.*.partial/out.mp4')):  # frames are being written
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(2):
        process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert 'Traceback' not in error
    frames = contents(outputs[0])
    assert 1 <= frames < 300 and contents(outputs[1]) == frames
    assert f'out.mcap: {frames} frame' in out
