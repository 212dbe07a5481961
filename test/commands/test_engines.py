# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam build`, `tam engines`, `tam check`, with a fake of TensorRT and a GPU, and without."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import trt as fake_trt
from fakes.device import FACTS, FakeDevice

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.demo.scene import DemoScene
from tam_ros.loading import open_runtime
from tam_ros.model_files import TRACKER_GRAPHS
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import cuda as pycuda_device
from tam_ros.tensorrt import opening
from tam_ros.tensorrt import prepare as preparing
from tam_ros.tensorrt.build_process import build_apart
from tam_ros.tensorrt.engine_cache import PlanCache
from tam_ros.tensorrt.failures import BuildCancelledError
from tam_ros.tracking import Prompt, Tracker

NAME = 'efficienttam_nano'


@pytest.fixture
def jetson(monkeypatch):
    """A machine with TensorRT and a GPU, as far as the package can tell."""
    monkeypatch.setattr(opening, 'load_tensorrt', fake_trt.make)
    monkeypatch.setattr(pycuda_device, 'probe', lambda: FACTS)
    monkeypatch.setattr(pycuda_device, 'PycudaDevice', FakeDevice)
    monkeypatch.setattr(
        preparing,
        'build_apart',
        lambda request, report, cancelled: build_apart(
            replace(request, tensorrt='fakes.trt', device='fakes.device:FakeDevice'),
            report,
            cancelled,
        ),
    )


@pytest.fixture
def graphs():
    return str(catalogue.engines_dir() / NAME)


without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec('tensorrt') is not None, reason='TensorRT is installed here'
)


@pytest.mark.slow
def test_engines_are_built_listed_used_and_deleted(jetson, graphs, capsys):
    build = ['build', NAME, '--weights', graphs, '--max-objects', '2', '--workspace', '900']
    assert main(build) == 0
    out = capsys.readouterr().out
    assert 'fp32: TensorRT 10.3.0 on Fake Orin' in out
    assert out.count('built in') == out.count('cosine 1.00000') == len(TRACKER_GRAPHS)
    assert 'runtime:=tensorrt model:=efficienttam_nano' in out
    assert main(build) == 0
    assert capsys.readouterr().out.count('was there') == len(TRACKER_GRAPHS)

    assert main(['engines']) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(TRACKER_GRAPHS)
    assert all('TensorRT 10.3.0, Fake Orin' in line and '2 objects' in line for line in listed)
    assert main(['engines', 'verify']) == 0
    assert capsys.readouterr().out.count('verified') == len(TRACKER_GRAPHS)

    runtime = open_runtime(NAME, graphs, 'tensorrt')
    assert runtime.info['precision'] == 'fp32'
    scene = DemoScene()
    tracker = Tracker(runtime)
    tracker.step(scene.frame(0)[0], 0.0, [Prompt.mask(1, scene.frame(0)[1] == 1)])
    mask = tracker.step(scene.frame(1)[0], 0.1).objects[0].mask
    truth = scene.frame(1)[1] == 1
    assert np.count_nonzero(mask & truth) > 0.6 * np.count_nonzero(mask | truth)
    tracker.close()

    entry = PlanCache().entries()[0]
    entry.path.write_bytes(b'something else')
    assert main(['engines', 'verify']) == 2
    said = capsys.readouterr()
    assert 'was changed since it was built' in said.out and '1 of 4 engines' in said.err
    assert main(['engines', 'delete', '--broken']) == 0
    assert '1 engines deleted' in capsys.readouterr().out
    assert main(['engines', 'delete']) == 2
    assert '--all or --broken' in capsys.readouterr().err
    assert main(['engines', 'delete', 'efficienttam_s']) == 0
    assert len(PlanCache().entries()) == len(TRACKER_GRAPHS) - 1
    assert main(['engines', 'delete', '--all']) == 0
    assert PlanCache().entries() == []
    assert main(['engines']) == 0
    assert 'no engines in' in capsys.readouterr().out


def test_interrupting_a_build_says_that_what_was_finished_is_kept(
    jetson, graphs, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, 'build_apart', interrupted)
    assert main(['build', NAME, '--weights', graphs]) == 130
    assert 'finished results are kept' in capsys.readouterr().err

    def cancelled(*_):
        raise BuildCancelledError('building image_encoder was cancelled')

    monkeypatch.setattr(preparing, 'build_apart', cancelled)
    assert main(['build', NAME, '--weights', graphs]) == 2
    assert PlanCache().entries() == []


def test_force_builds_what_is_there(jetson, graphs, monkeypatch, capsys):
    gone = []

    def stop(_):
        raise EngineError('far enough')

    monkeypatch.setattr(preparing.Preparation, 'discard', lambda self, graph: gone.append(graph))
    monkeypatch.setattr(preparing.Preparation, 'plans', stop)
    assert main(['build', NAME, '--weights', graphs]) == 2
    assert gone == []
    assert main(['build', NAME, '--weights', graphs, '--force']) == 2
    assert len(gone) == len(TRACKER_GRAPHS)


def test_engines_that_are_missing_are_not_replaced_by_another_runtime(jetson, graphs, capsys):
    assert main(['bench', '--weights', graphs, '--runtime', 'tensorrt', '--frames', '1']) == 2
    assert '`tam build efficienttam_nano`' in capsys.readouterr().err


@without_tensorrt
def test_without_tensorrt_it_is_said_before_anything_is_fetched(capsys, monkeypatch):
    from tam_ros.commands import weights

    monkeypatch.setattr(weights, 'run', lambda _: pytest.fail('fetched'))
    assert main(['build', 'efficienttam_ti_512x512']) == 2
    assert 'TensorRT is not installed' in capsys.readouterr().err


@without_tensorrt
def test_nothing_is_exported_where_tensorrt_is_missing(monkeypatch):
    monkeypatch.setattr('tam_ros.model_files.graphs_of', lambda *_: pytest.fail('exported'))
    with pytest.raises(EngineError, match='TensorRT is not installed'):
        open_runtime(NAME, runtime='tensorrt')


def test_a_runtime_that_knows_no_such_precision(capsys):
    assert main(['bench', '--runtime', 'torch', '--precision', 'fp16', '--frames', '1']) == 2
    assert 'torch knows no precision' in capsys.readouterr().err


def test_ros2_run_build_engines_is_tam_build():
    script = Path(__file__).resolve().parents[2] / 'scripts' / 'build_engines'
    assert os.access(script, os.X_OK)
    done = subprocess.run(
        [sys.executable, str(script), '--help'],
        text=True,
        capture_output=True,
        cwd=script.parents[1],
        env={**os.environ, 'PYTHONPATH': '.'},
    )
    assert done.returncode == 0 and '--max-objects' in done.stdout
    assert 'scripts/build_engines' in (script.parents[1] / 'CMakeLists.txt').read_text()


# --- tam check ---


def test_check_shows_what_is_there_and_tests_it(graphs, capsys, monkeypatch):
    from tam_ros.commands import check

    monkeypatch.setattr(check, 'RUNTIMES', ('onnxruntime', 'tensorrt'))
    assert main(['check', '--weights', graphs]) == 0
    out = capsys.readouterr().out
    assert 'tam_ros' in out and 'numpy' in out and 'GPU' in out
    assert out.count('    ok ') == 3 and 'WRONG' not in out
    assert 'memory_attention, mask_decoder' in out


@without_tensorrt
def test_check_of_what_is_missing_fails(graphs, capsys):
    assert main(['check', '--weights', graphs, '--runtime', 'tensorrt']) == 2
    said = capsys.readouterr()
    assert 'TensorRT is not installed' in said.out
    assert 'not usable as it is: tensorrt' in said.err


def test_check_notices_a_runtime_that_is_wrong(graphs, capsys, monkeypatch):

    right = OnnxRuntime.memory_encoder
    monkeypatch.setattr(
        OnnxRuntime, 'memory_encoder', lambda self, *arguments: -right(self, *arguments)
    )
    assert main(['check', '--weights', graphs, '--runtime', 'onnxruntime']) == 2
    out = capsys.readouterr().out
    assert 'WRONG  memory_encoder' in out
    assert 'ok     image_encoder, mask_decoder' in out
