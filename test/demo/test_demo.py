# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo with the real node, camera and DDS; and the arguments that it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from tam_ros.demo import __main__ as demo_main
from tam_ros.demo import graph
from tam_ros.io.open_source import open_source
from tam_ros.io.video_writer import VideoWriter
from tam_ros.ros.distribution import PROFILE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str, cwd: Path) -> subprocess.Popen:
    path = f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    return subprocess.Popen(
        [sys.executable, '-m', 'tam_ros.demo', *arguments],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children_of(folder: Path) -> list[str]:
    """Command lines of running processes that mention a folder or write their log there."""
    found = []
    for process in Path('/proc').iterdir():
        try:
            if process.name.isdigit() and str(folder) in os.readlink(process / 'fd' / '1'):
                found.append((process / 'cmdline').read_text().replace('\0', ' '))
        except OSError:
            continue
    return found


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob('*')) if file.is_file())


@pytest.mark.slow
def test_demo_end_to_end(ros, tmp_path):
    folder = tmp_path / 'with a space'
    folder.mkdir()
    demo = start('--frames', '20', '--out', 'my results', cwd=folder)
    output, errors = demo.communicate(timeout=240)
    assert demo.returncode == 0, output + errors
    out = folder / 'my results'
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['frames'] == 20
    assert 0 < summary['tracked'] <= 20
    assert summary['dropped'] == 20 - summary['tracked']
    assert 0 < summary['age_ms_p50'] < 5000
    assert 0 <= summary['j_mean'] <= 1
    assert f'mean J {summary["j_mean"]:.3f}' in output
    assert ('UNTRAINED' in output) == ('untrained' in summary['weights'])
    with AnyReader([out / 'recording.mcap']) as bag:
        counts = {connection.topic: connection.msgcount for connection in bag.connections}
    assert counts['/image'] == counts['/truth'] == 20
    assert counts['/track_node/labels'] == counts['/track_node/objects'] == summary['tracked']
    assert len(list(open_source(out / 'overlay.mp4'))) == summary['tracked']
    assert (out / 'contact_sheet.png').stat().st_size > 50_000
    assert children_of(out) == []


@pytest.mark.slow
def test_own_video_twice(ros, tmp_path):
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (240, 420, 3), np.uint8)
    with VideoWriter(tmp_path / 'own.mp4', 10) as writer:
        for index in range(12):
            writer.write(np.ascontiguousarray(texture[:, 5 * index : 5 * index + 320]))
    for _ in range(2):
        demo = start(
            *('--video', 'own.mp4', '--prompts', '4:point:100,100;9:box:200,50,300,150@3'),
            cwd=tmp_path,
        )
        output, errors = demo.communicate(timeout=240)
        assert demo.returncode == 0, output + errors
        summary = json.loads((tmp_path / 'demo_output' / 'summary.json').read_text())
        assert summary['j_mean'] is None
        with AnyReader([tmp_path / 'demo_output' / 'recording.mcap']) as bag:
            (connection,) = (c for c in bag.connections if c.topic == '/track_node/objects')
            *_, last = (bag.deserialize(m[2], m[0].msgtype) for m in bag.messages([connection]))
        assert [item.id for item in last.objects] == [4, 9]


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('playing', [False, True])
def test_interrupted_demo_leaves_nothing_running(ros, tmp_path, number, playing):
    demo = start('--out', 'out', cwd=tmp_path)
    out = tmp_path / 'out'
    sign = 'recording.mcap.*.partial' if playing else 'logs/node.log'
    deadline = time.monotonic() + 180
    # While playing: once a few images of 690 kB are in the folder that becomes the recording.
    size = 2_000_000 if playing else 0
    while not (
        any(size_of(path) >= size for path in out.glob(sign)) and len(children_of(out)) == 2
    ):
        assert time.monotonic() < deadline and demo.poll() is None
        time.sleep(0.1)
    demo.send_signal(number)
    demo.communicate(timeout=30)
    assert demo.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert children_of(out) == []
    if playing:
        assert len(list(open_source(out / 'recording.mcap', topic='/image'))) > 0


def test_outside_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert demo_main.main(['--out', str(tmp_path / 'out')]) == 2
    assert 'run `make demo`, or `. ./env.sh` first' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--video', 'VIDEO'], "PROMPTS='...'"),  # no prompts
        (['--video', 'VIDEO', '--prompts', '1:circle:3,4'], 'neither point nor box'),
        (['--video', 'no such.mp4', '--prompts', '1:point:3,4'], 'does not exist'),
        (['--video', 'broken.mp4', '--prompts', '1:point:3,4'], 'is text, not a video'),
        (['--video', 'VIDEO', '--prompts', '1:point:300,4'], 'outside'),  # of 160x120
        (['--video', 'VIDEO', '--prompts', '1:box:200,4,250,90'], 'outside'),
        (['--video', 'VIDEO', '--prompts', '1:point:3,4@5'], 'frame 5'),  # of frames 0 to 4
        (['--prompts', '1:point:3,4@3', '--frames', '3'], 'frame 3'),
        (['--frames', '0'], 'must be at least 1'),
        (['--rate', '0'], 'must be above 0'),
        (['--rate', 'nan'], 'must be above 0'),
        (['--model', 'efficienttam_huge'], 'efficienttam_huge'),
    ],
)
def test_refused_before_anything_starts(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.mp4').write_bytes(b'no video' * 50)
    with VideoWriter(tmp_path / 'VIDEO.mp4', 10) as writer:
        for level in range(5):
            writer.write(np.full((120, 160, 3), level, np.uint8))
    arguments = ['VIDEO.mp4' if word == 'VIDEO' else word for word in arguments]
    assert demo_main.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_file_in_the_way_of_the_results(ros, tmp_path, capsys):
    (tmp_path / 'file').write_text('in the way')
    assert demo_main.main(['--out', str(tmp_path / 'file')]) == 2
    assert str(tmp_path / 'file') in capsys.readouterr().err


@pytest.fixture
def environment(monkeypatch):
    """A copy of the environment that the demo may change."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    os.environ.pop(PROFILE_VARIABLE, None)
    return os.environ


@pytest.mark.parametrize(('free', 'shared'), [(10**9, True), (64 * 2**20, False), (0, False)])
def test_images_use_shared_memory_if_there_is_enough(
    environment, monkeypatch, tmp_path, free, shared
):
    os.environ[PROFILE_VARIABLE] = '/from/env.sh'
    monkeypatch.setattr(graph, '_free_shared_memory', lambda: free)
    graph.isolate(tmp_path)
    assert (PROFILE_VARIABLE in environment) == shared
    assert (environment.get('FASTDDS_BUILTIN_TRANSPORTS') == 'UDPv4') != shared


def test_the_demo_is_isolated(environment, tmp_path):
    graph.isolate(tmp_path)
    assert 0 < int(environment['ROS_DOMAIN_ID']) <= 101  # what every operating system can do
    assert environment['ROS_LOG_DIR'] == str(tmp_path / 'logs')
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert environment[PROFILE_VARIABLE].endswith('config/fastdds_images.xml')
