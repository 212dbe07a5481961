# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam build`, `tam engines` and `tam check`, with a fake TensorRT and GPU, and without."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_model
from fakes import machine as fake_machine

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.demo.scene import DemoScene
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_runtime
from tam_ros.model_files import TRACKER_GRAPHS
from tam_ros.runtime.backends import BACKENDS
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.host import HostRuntime
from tam_ros.tensorrt import prepare
from tam_ros.tensorrt.builder import BuildCancelledError
from tam_ros.tensorrt.engine_cache import EngineCache
from tam_ros.tensorrt.prepare import EnginePreparation
from tam_ros.tracking import Prompt, Tracker

NAME = 'efficienttam_nano'


@pytest.fixture
def jetson(monkeypatch):
    """A machine with a fake TensorRT and a fake GPU; the devices that are opened."""
    return fake_machine.install(monkeypatch, own_process=True)


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
    assert capsys.readouterr().out.count('already built') == len(TRACKER_GRAPHS)

    assert main(['engines']) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(TRACKER_GRAPHS)
    assert all('TensorRT 10.3.0, Fake Orin' in line and '2 objects' in line for line in listed)
    assert main(['engines', 'verify']) == 0
    assert capsys.readouterr().out.count('verified') == len(TRACKER_GRAPHS)

    runtime = open_runtime(NAME, graphs, 'tensorrt')
    assert runtime.info['precision'] == 'fp32'
    scene = DemoScene()
    with Tracker(runtime) as tracker:
        tracker.step(scene.frame(0)[0], 0.0, [Prompt.mask(1, scene.frame(0)[1] == 1)])
        mask = tracker.step(scene.frame(1)[0], 0.1).objects[0].mask
    truth = scene.frame(1)[1] == 1
    assert np.count_nonzero(mask & truth) > 0.6 * np.count_nonzero(mask | truth)

    entry = EngineCache().entries()[0]
    entry.path.write_bytes(b'something else')
    assert main(['engines', 'verify']) == 2
    captured = capsys.readouterr()
    assert 'was changed after it was built' in captured.out
    assert '1 of 4 engines fail verification' in captured.err
    assert main(['engines', 'delete', '--broken']) == 0
    assert '1 engines deleted' in capsys.readouterr().out
    assert main(['engines', 'delete']) == 2
    assert '--all or --broken' in capsys.readouterr().err
    assert main(['engines', 'delete', 'efficienttam_s']) == 0
    assert len(EngineCache().entries()) == len(TRACKER_GRAPHS) - 1
    assert main(['engines', 'delete', '--all']) == 0
    assert EngineCache().entries() == []
    assert main(['engines']) == 0
    assert 'no engines in' in capsys.readouterr().out


def test_an_interrupted_build_keeps_finished_engines(jetson, graphs, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, 'build_in_process', interrupted)
    assert main(['build', NAME, '--weights', graphs]) == 130
    assert 'finished results are kept' in capsys.readouterr().err

    def cancelled(*_):
        raise BuildCancelledError('building image_encoder was cancelled')

    monkeypatch.setattr(prepare, 'build_in_process', cancelled)
    assert main(['build', NAME, '--weights', graphs]) == 2
    assert EngineCache().entries() == []


def test_force_deletes_existing_engines_before_building(jetson, graphs, monkeypatch):
    deleted = []

    def stop(_):
        raise EngineError('stop here')

    monkeypatch.setattr(EnginePreparation, 'discard', lambda self, graph: deleted.append(graph))
    monkeypatch.setattr(EnginePreparation, 'plans', stop)
    assert main(['build', NAME, '--weights', graphs]) == 2
    assert deleted == []
    assert main(['build', NAME, '--weights', graphs, '--force']) == 2
    assert len(deleted) == len(TRACKER_GRAPHS)


def test_missing_engines_are_not_replaced_by_another_backend(jetson, graphs, capsys):
    assert main(['bench', '--weights', graphs, '--runtime', 'tensorrt', '--frames', '1']) == 2
    assert '`tam build efficienttam_nano`' in capsys.readouterr().err


@without_tensorrt
def test_without_tensorrt_nothing_is_fetched(capsys, monkeypatch):
    from tam_ros.commands import weights

    monkeypatch.setattr(weights, 'run', lambda _: pytest.fail('fetched'))
    assert main(['build', 'efficienttam_ti_512x512']) == 2
    assert 'TensorRT is not installed' in capsys.readouterr().err


@without_tensorrt
def test_without_tensorrt_nothing_is_exported(monkeypatch):
    monkeypatch.setattr('tam_ros.loading.graphs_of', lambda *_: pytest.fail('exported'))
    with pytest.raises(EngineError, match='TensorRT is not installed'):
        open_runtime(NAME, runtime='tensorrt')


def test_a_precision_that_a_backend_does_not_offer_is_refused(capsys):
    assert main(['bench', '--runtime', 'torch', '--precision', 'fp16', '--frames', '1']) == 2
    assert "torch does not compute in 'fp16'" in capsys.readouterr().err


def test_build_engines_runs_tam_build():
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


def test_check_looks_for_the_libraries_of_every_backend():
    from tam_ros.commands import check

    libraries = check._libraries()
    for row in BACKENDS.values():
        for module in row.libraries:
            assert f'runtime:={row.name}' in libraries[module]
    assert libraries['torch'] == ['runtime:=torch', 'exporting']


def test_a_workspace_that_is_too_small_is_refused(jetson, graphs, capsys):
    assert main(['build', NAME, '--weights', graphs, '--workspace', '10']) == 2
    assert 'workspace_mb' in capsys.readouterr().err


def test_check_closes_what_it_opens(graphs, capsys, monkeypatch):
    arguments = ['--weights', graphs, '--runtime', 'tensorrt']
    devices = fake_machine.install(monkeypatch)
    assert main(['build', NAME, '--weights', graphs]) == 0
    assert main(['check', *arguments]) == 0
    assert capsys.readouterr().out.count('    ok ') == 3
    assert [device.closed for device in devices] == [True]


def test_check_tests_other_kinds_of_models(tmp_path, capsys, monkeypatch):
    entry = toy_model.add(monkeypatch)
    folder = export_model(entry, 'untrained', tmp_path / 'graphs')
    arguments = ['--model', entry.name, '--weights', str(folder), '--runtime', 'onnxruntime']
    assert main(['check', *arguments]) == 0
    out = capsys.readouterr().out
    assert 'ok     encode_image' in out and 'ok     match_queries' in out


def test_check_shows_versions_and_tests_backends(graphs, capsys, monkeypatch):
    from tam_ros.commands import check

    monkeypatch.setattr(check, 'RUNTIMES', ('onnxruntime', 'tensorrt'))
    assert main(['check', '--weights', graphs]) == 0
    out = capsys.readouterr().out
    assert 'tam_ros' in out and 'numpy' in out and 'GPU' in out
    assert out.count('    ok ') == 3 and 'WRONG' not in out
    assert 'memory_attention, mask_decoder' in out


@without_tensorrt
def test_check_of_a_missing_backend_fails(graphs, capsys):
    assert main(['check', '--weights', graphs, '--runtime', 'tensorrt']) == 2
    captured = capsys.readouterr()
    assert 'TensorRT is not installed' in captured.out
    assert 'failed: tensorrt' in captured.err


def test_check_detects_wrong_results(graphs, capsys, monkeypatch):
    right = HostRuntime.memory_encoder
    monkeypatch.setattr(
        HostRuntime, 'memory_encoder', lambda self, *arguments: -right(self, *arguments)
    )
    assert main(['check', '--weights', graphs, '--runtime', 'onnxruntime']) == 2
    out = capsys.readouterr().out
    assert 'WRONG  memory_encoder' in out
    assert 'ok     image_encoder, mask_decoder' in out
