# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Real worker processes with the bundled model: one is killed, all are stopped by Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from labelling.conftest import write_clip

from tam_ros import catalogue
from tam_ros.labelling.job import read_job
from tam_ros.labelling.run import fingerprint_of, run
from tam_ros.labelling.state import OutputFolder
from tam_ros.labelling.workers import LocalWorkers

MODEL = 'efficienttam_nano_256'
FRAMES = 12


@pytest.fixture
def frames() -> int:
    """Number of frames of a recording."""
    return FRAMES


@pytest.fixture
def job(write_job, tmp_path, frames):
    if not (catalogue.engines_dir() / 'efficienttam_nano').is_dir():
        pytest.skip('the weights of efficienttam_nano are not bundled yet')
    for seed in range(2):
        write_clip(tmp_path / 'long' / f'drive{seed}', seed, frames)
    recordings = [{'source': 'long/*', 'prompts': ['1:box:10,20,30,40']}]
    return write_job(recordings=recordings, model=MODEL)


def test_a_killed_worker(job, tmp_path):
    job_ = read_job(job)
    killed, begun_again = [], []

    def kill(progress):
        frames = max((done for done, _ in progress.running.values()), default=0)
        if not killed and frames > 3:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(frames)
        elif killed and 0 < frames < killed[0]:
            begun_again.append(frames)

    fingerprint = fingerprint_of(MODEL, None, 'onnxruntime', 'auto')
    with OutputFolder(job_.output) as folder, LocalWorkers(1) as workers:
        summary = run(job_, folder, workers, fingerprint, report=kill)
    assert killed and begun_again and not summary.failed
    assert [one.frames for one in summary.finished] == [FRAMES, FRAMES]
    assert not multiprocessing.active_children()
    alone = tmp_path / 'alone'
    subprocess.run(
        [sys.executable, '-m', 'tam_ros.cli', 'track', tmp_path / 'long/drive0', '--model', MODEL]
        + ['--threads', '1', '--prompt', '1:box:10,20,30,40', '--out', alone],
        check=True,
        capture_output=True,
    )
    expected = [path.read_bytes() for path in sorted(alone.iterdir())]
    found = sorted((job_.output / 'masks/drive0').iterdir())
    assert [path.read_bytes() for path in found] == expected and len(expected) == FRAMES


@pytest.mark.slow
@pytest.mark.parametrize('frames', [80])
def test_ray(job, tmp_path, frames):
    """Actors of a cluster on this machine, one of which is killed, give the same labels."""
    ray = pytest.importorskip('ray', reason='ray is not installed')
    from tam_ros.labelling.ray_workers import RayWorkers

    job_ = read_job(job)
    killed = []

    def kill(progress):
        # Ray never answers for an actor that is killed by its own call before it has started.
        if not killed and progress.running and all(n for n, _ in progress.running.values()):
            killed.append(workers)
            actor, _ = next(iter(workers._busy.values()))
            ray.kill(actor)

    handler = signal.getsignal(signal.SIGTERM)
    with OutputFolder(job_.output) as folder, RayWorkers(None, 2) as workers:
        assert signal.getsignal(signal.SIGTERM) == handler
        summary = run(job_, folder, workers, 'model', report=kill)
    assert killed and not summary.failed
    found = {path: path.read_bytes() for path in (job_.output / 'masks').rglob('*.png')}
    assert len(found) == 2 * frames and not ray.is_initialized()
    again = replace(job_, output=tmp_path / 'again')
    with OutputFolder(again.output) as folder, LocalWorkers(1) as local:
        run(again, folder, local, 'model')
    for path, content in found.items():
        assert (again.output / path.relative_to(job_.output)).read_bytes() == content


def test_ctrl_c(job, tmp_path):
    """Recordings that were being labelled are begun again by the next run, the rest is kept."""
    program = [sys.executable, '-m', 'tam_ros.cli', 'label', str(job), '--workers', '1']
    process = subprocess.Popen(program, start_new_session=True, stderr=subprocess.PIPE)
    records = tmp_path / 'out/.tam_label/records'
    while process.poll() is None:  # the test has a time limit of its own
        if records.is_dir() and any(records.iterdir()):
            os.killpg(process.pid, signal.SIGINT)
            break
        time.sleep(0.02)
    _, said = process.communicate()
    if process.returncode == 0:
        pytest.skip('it was finished before it could be interrupted')
    assert process.returncode == 130, said
    done = {path.name for path in (tmp_path / 'out/masks').iterdir()}
    assert done and all(
        len(list((tmp_path / 'out/masks' / name).iterdir())) == FRAMES for name in done
    )
    program[-1] = '2'
    assert subprocess.run(program, check=True, capture_output=True).returncode == 0
    assert len(list((tmp_path / 'out/masks').iterdir())) == 2
