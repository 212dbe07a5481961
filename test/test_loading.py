# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Loading a model: which weights are used, errors, and the first export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_model
from safetensors.torch import save_file

from tam_ros import catalogue
from tam_ros.catalogue import UnknownModelError
from tam_ros.loading import graphs_of, open_runtime
from tam_ros.model_files import WeightsError, read_spec
from tam_ros.models.build import build_network

ROOT = Path(__file__).resolve().parents[1]
NAME = 'efficienttam_nano'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='module')
def state():
    """Return a state_dict of the model."""
    return build_network(catalogue.model(NAME), 'untrained').state_dict()


def damaged(state, tmp_path, what):
    """Write a checkpoint with a certain defect."""
    path = tmp_path / 'weights.pt'
    state = dict(state)
    if what == 'missing':
        del state['no_mem_embed'], state['no_obj_ptr']
    elif what == 'unknown':
        state['surplus.weight'] = torch.zeros(1)
    elif what == 'shape':
        state['no_mem_embed'] = torch.zeros(1, 1, 3)
    elif what == 'no state':
        torch.save({'model': [1, 2]}, path)
        return path
    if what == 'code':  # a pickle that would run code when it is loaded
        torch.save({'model': print}, path)
        return path
    torch.save({'model': state}, path)
    if what == 'truncated':
        path.write_bytes(path.read_bytes()[:100_000])
    elif what == 'text':
        path.write_text('<html>not found</html>')
    elif what == 'empty':
        path.write_bytes(b'')
    return path


@pytest.mark.parametrize(
    ('what', 'message'),
    [
        ('missing', 'missing: no_mem_embed, no_obj_ptr'),
        ('unknown', 'unknown: surplus.weight'),
        ('shape', r'another shape: no_mem_embed \(1, 1, 3\) instead of \(1, 1, 128\)'),
        ('truncated', 'cannot be read'),
        ('text', 'cannot be read'),
        ('empty', 'cannot be read'),
        ('code', 'cannot be read'),
        ('no state', 'no state_dict'),
    ],
)
@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime'])
def test_damaged_checkpoints(state, tmp_path, what, message, runtime):
    with pytest.raises(WeightsError, match=message):
        open_runtime(NAME, damaged(state, tmp_path, what), runtime)


def test_checkpoint_of_another_model_names_the_first_few_keys(state, tmp_path):
    path = damaged(state, tmp_path, 'fine')
    with pytest.raises(WeightsError, match='do not belong to efficienttam_ti_512x512.* more'):
        open_runtime('efficienttam_ti_512x512', path, 'torch')


@pytest.mark.parametrize(
    ('model', 'weights', 'runtime', 'error', 'message'),
    [
        (
            'efficienttam_xl',
            None,
            'torch',
            UnknownModelError,
            'known are .*efficienttam_ti_512x512',
        ),
        (NAME, '/no/such/file.pt', 'torch', WeightsError, 'do not exist'),
        (NAME, 'untrained', 'cuda', ValueError, 'no runtime'),
        # never downloaded: the message says how
        ('efficienttam_s', None, 'torch', WeightsError, 'tam weights get efficienttam_s'),
    ],
)
def test_what_cannot_be_opened(model, weights, runtime, error, message):
    with pytest.raises(error, match=message):
        open_runtime(model, weights, runtime)


def test_folder_that_holds_no_graphs(tmp_path):
    with pytest.raises(WeightsError, match='not a folder of exported graphs'):
        open_runtime(NAME, tmp_path, 'onnxruntime')


def test_checkpoint_is_exported_once(state, tmp_path, cache, monkeypatch):
    path = tmp_path / 'weights.safetensors'
    save_file({key: value.half() for key, value in state.items()}, path)
    runtime = open_runtime(NAME, path, 'onnxruntime', threads=1)
    assert runtime.spec.weights.startswith('weights.safetensors')
    folder = graphs_of(catalogue.model(NAME), path)
    assert folder.parent == cache / 'graphs'

    def fail(*_):
        raise AssertionError('exported twice')

    monkeypatch.setattr('tam_ros.export.onnx.export_model', fail)
    open_runtime(NAME, path, 'onnxruntime')
    # The message names a graph that was damaged later.
    (folder / 'mask_decoder_fp32.onnx').write_bytes(b'not a graph')
    with pytest.raises(WeightsError, match='mask_decoder_fp32.onnx cannot be read as a graph'):
        open_runtime(NAME, path, 'onnxruntime')
    (folder / 'model.json').write_text('{}')
    with pytest.raises(WeightsError, match='export the graphs again'):
        open_runtime(NAME, path, 'onnxruntime')


def test_untrained_weights_say_so_and_are_the_same_every_time():
    one, two = (open_runtime(NAME, 'untrained', 'torch') for _ in range(2))
    assert one.spec.weights.startswith('untrained')
    image = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    np.testing.assert_array_equal(one.image_encoder(image).raw, two.image_encoder(image).raw)


# What one of several processes does at once: load the graphs, say so, and go on loading them until
# its input ends. It fails where a graph disappears.
LOADS = """
import sys, time
from tam_ros import catalogue
from tam_ros.loading import graphs_of, open_exported
from tam_ros.graph_files import graph_file
from tam_ros.model_files import TRACKER_GRAPHS
folder = graphs_of(catalogue.model(sys.argv[1]), 'untrained')
print('loaded', folder.stat().st_ino, flush=True)
sys.stdin.read()
for name in TRACKER_GRAPHS:
    graph_file(folder, name, 'fp32').read_bytes()
print('still', folder.stat().st_ino, flush=True)
"""


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, '-c', code, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_processes_that_start_together_export_once(cache):
    """As the nodes of cameras.launch.py do on a machine on which nothing was exported yet."""
    processes = [start(LOADS, NAME) for _ in range(2)]
    loaded = [process.stdout.readline().split() for process in processes]
    ended = [process.communicate() for process in processes]
    errors = [error for _, error in ended]
    assert [process.returncode for process in processes] == [0, 0], errors
    inodes = {line[1] for line in loaded} | {out.split()[1] for out, _ in ended}
    assert len(inodes) == 1, 'a process replaced the folder that another one was using'
    assert [path.name for path in (cache / 'graphs').iterdir() if path.name[0] != '.'] == [
        graphs_of(catalogue.model(NAME), 'untrained').name
    ]


# Holds the lock of the first argument until its input ends.
HOLDS = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print('locked', flush=True)
    sys.stdin.read()
"""


def test_a_process_waits_while_another_one_exports(cache, monkeypatch, caplog):
    entry = toy_model.add(monkeypatch)
    folder = graphs_of(entry, 'untrained')
    graphs = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / 'model.json').unlink()  # as if it had not been exported yet
    holder = start(HOLDS, str(folder.with_name(f'.{folder.name}.lock')))
    assert holder.stdout.readline() == 'locked\n'
    exported = []

    def release(*_):
        # The other process finishes its export while this one waits for it.
        (folder / 'model.json').write_bytes(graphs['model.json'])
        holder.stdin.close()

    monkeypatch.setattr('tam_ros.loading._log.info', release)
    monkeypatch.setattr('tam_ros.export.onnx.export_model', lambda *_: exported.append(1))
    assert graphs_of(entry, 'untrained') == folder
    assert holder.wait() == 0
    assert not exported
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == graphs


def test_a_damaged_folder_in_the_cache_is_exported_again(monkeypatch):
    entry = toy_model.add(monkeypatch)
    folder = graphs_of(entry, 'untrained')
    (folder / 'model.json').unlink()
    assert graphs_of(entry, 'untrained') == folder
    assert read_spec(folder).name == entry.name


def test_a_runtime_is_closed_at_the_end_of_its_block(monkeypatch):
    closed = []
    runtime = open_runtime(NAME)
    for name, session in runtime._sessions.items():
        monkeypatch.setattr(session, 'close', lambda name=name: closed.append(name))
    with pytest.raises(ZeroDivisionError), runtime as opened:
        assert opened is runtime and not closed
        raise ZeroDivisionError
    assert closed == list(runtime.spec.graph_names)


def test_an_unknown_architecture_names_the_known_ones(monkeypatch):
    entry = toy_model.add(monkeypatch)
    monkeypatch.setattr('tam_ros.models.build.FAMILIES', {'efficienttam': None})
    with pytest.raises(WeightsError, match="unknown architecture 'toy'; known are efficienttam"):
        build_network(entry, 'untrained')
