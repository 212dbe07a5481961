# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, folders of graphs, the catalogue and saved tracks."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given
from onnx import TensorProto, helper, numpy_helper
from tracking.fake_runtime import SPEC, FakeRuntime

from fuzz.mutations import OPERATIONS, cached, fuzzed, mutated, only, trees
from tam_ros import catalogue
from tam_ros.catalogue import CatalogueError
from tam_ros.graph_files import read_graph
from tam_ros.model_files import (
    DESCRIPTION,
    GraphSpec,
    ModelSpec,
    TensorSpec,
    WeightsError,
    read_spec,
)
from tam_ros.tracking import Prompt, SavedTracksError, Tracker, TrackerOptions

# --- checkpoints ---


def checkpoint(suffix: str) -> bytes:
    torch = pytest.importorskip('torch', reason='torch is needed to read checkpoints')
    from safetensors.torch import save

    tensors = {
        'a.weight': torch.arange(24.0).reshape(4, 6),
        'b': torch.ones(3, dtype=torch.float16),
        'c': torch.arange(2),
    }
    if suffix == '.safetensors':
        return save(tensors)
    file = io.BytesIO()
    if suffix == '.npz':
        np.savez_compressed(file, **{key: value.numpy() for key, value in tensors.items()})
    elif suffix == '.jit.pt':
        module = torch.nn.Linear(3, 4)
        torch.jit.save(torch.jit.script(module), file)
    else:
        torch.save({'model': tensors}, file)
    return file.getvalue()


CHECKPOINTS = ['.pt', '.safetensors', '.npz', '.jit.pt']
CONTENT = {suffix: cached(lambda suffix=suffix: checkpoint(suffix)) for suffix in CHECKPOINTS}


@pytest.mark.parametrize('suffix', CHECKPOINTS)
@fuzzed(60)
@given(operations=OPERATIONS)
def test_checkpoints(tmp_path, suffix, operations):
    data = CONTENT[suffix]()
    from tam_ros.models.checkpoint import read_checkpoint

    path = tmp_path / f'weights{suffix}'
    path.write_bytes(mutated(data, operations))
    with only(WeightsError, names=path.name):
        state = read_checkpoint(path)
        assert all(value.isfinite().all() for value in state.values())


# --- folders of graphs ---

MODEL = ModelSpec(
    name='toy',
    weights='none',
    fingerprint='none',
    kind='toy',
    graphs=(
        GraphSpec(
            'g',
            (TensorSpec('x', 'float32', (3,), batched=True),),
            (TensorSpec('y', 'float32', (4,), batched=True),),
        ),
    ),
)


@cached
def graph() -> bytes:
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, ['b', 3])
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, ['b', 4])
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    half = np.ones(4, np.float16)
    nodes = [
        helper.make_node('MatMul', ['x', 'w'], ['m']),
        helper.make_node('Cast', ['h'], ['f'], to=TensorProto.FLOAT),
        helper.make_node('Constant', [], ['c'], value_float=1.5),
        helper.make_node('Add', ['m', 'f'], ['a']),
        helper.make_node('Mul', ['a', 'c'], ['y']),
    ]
    stored = [numpy_helper.from_array(weights, 'w'), numpy_helper.from_array(half, 'h')]
    made = helper.make_model(
        helper.make_graph(nodes, 'g', [x], [y], stored),
        opset_imports=[helper.make_opsetid('', 17)],
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made.SerializeToString()


def load(folder: Path) -> None:
    from tam_ros.runtime.onnxruntime import OnnxRuntimeSession

    for name in read_spec(folder).graph_names[:1]:
        OnnxRuntimeSession(read_graph(folder, name, 'fp32'), name, 1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / DESCRIPTION).write_text(MODEL.to_json())
    (tmp_path / 'g_fp32.onnx').write_bytes(graph())
    load(tmp_path)
    return tmp_path


@fuzzed(200)
@given(operations=OPERATIONS)
def test_graphs(folder, operations):
    (folder / 'g_fp32.onnx').write_bytes(mutated(graph(), operations))
    with only(WeightsError, names='g'):
        load(folder)


@pytest.mark.parametrize('name', [DESCRIPTION, 'SHA256SUMS'])
@fuzzed(40)
@given(operations=OPERATIONS)
def test_damaged_descriptions(folder, name, operations):
    digest = '0' * 64
    texts = {DESCRIPTION: MODEL.to_json(), 'SHA256SUMS': f'{digest}  other.onnx\n' * 2}
    (folder / name).write_bytes(mutated(texts[name].encode(), operations))
    with only(WeightsError):
        load(folder)


@fuzzed(150)
@given(values=trees(json.loads(MODEL.to_json())))
def test_descriptions_of_other_types(folder, values):
    (folder / DESCRIPTION).write_text(json.dumps(values))
    with only(WeightsError):
        load(folder)


@fuzzed(150)
@given(values=trees(json.loads(SPEC.to_json())))
def test_descriptions_of_trackers(folder, values):
    (folder / DESCRIPTION).write_text(json.dumps(values))
    with only(WeightsError):
        load(folder)


# --- the catalogue ---

ENTRIES = {
    'a': {
        'architecture': 'efficienttam',
        'description': 'one',
        'licence': 'Apache-2.0',
        'config': {'image_size': 512, 'depths': [1, 2]},
        'weights': {'repo': 'a/b', 'file': 'c.pt', 'sha256': '0' * 64, 'revision': '0' * 40},
    },
    'b': {
        'architecture': 'edgetam',
        'description': 'two',
        'licence': 'MIT',
        'config': {},
        'weights': {'bundled': 'b'},
        'kind': 'tracker',
    },
}


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, 'engines_dir', lambda: tmp_path)

    def read(data: bytes) -> None:
        (tmp_path / 'models.yaml').write_bytes(data)
        for model in catalogue.models.__wrapped__().values():
            assert isinstance(model.description, str) and isinstance(model.config, dict)

    return read


@fuzzed(100)
@given(operations=OPERATIONS)
def test_a_damaged_catalogue(models, operations):
    with only(CatalogueError):
        models(mutated(yaml.safe_dump(ENTRIES).encode(), operations))


@fuzzed(100)
@given(values=trees(ENTRIES))
def test_a_catalogue_of_other_types(models, values):
    with only(CatalogueError):
        models(yaml.safe_dump(values).encode())


# --- saved tracks ---


@cached
def tracks() -> bytes:
    tracker = Tracker(FakeRuntime(), TrackerOptions(max_objects=4))
    prompts = [Prompt.points(3, [(16, 12)], [1]), Prompt.points(7, [(50, 40)], [1])]
    for index in range(4):
        tracker.step(np.zeros((48, 64, 3), np.uint8), index / 10, [] if index else prompts)
    with tempfile.TemporaryDirectory() as folder:
        tracker.save(Path(folder) / 'tracks.npz')
        return (Path(folder) / 'tracks.npz').read_bytes()


def resume(path: Path) -> None:
    """Load the tracks and go on, which must not fail if they were accepted."""
    tracker = Tracker(FakeRuntime(), TrackerOptions(max_objects=4))
    try:
        tracker.load(path)
    except SavedTracksError:
        assert not tracker.objects
        raise
    size = tracker._size if getattr(tracker, '_size', None) else (48, 64)
    tracker.step(np.zeros((*size, 3), np.uint8), 1000.0)


@fuzzed(100)
@given(operations=OPERATIONS)
def test_saved_tracks(tmp_path, operations):
    path = tmp_path / 'tracks.npz'
    path.write_bytes(mutated(tracks(), operations))
    with only(SavedTracksError, names=path.name):
        resume(path)


@cached
def parts() -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(tracks())) as archive:
        return {name: archive[name] for name in archive.files}


@fuzzed(120)
@given(about=trees(json.loads(str(parts()['about']))))
def test_saved_tracks_of_other_types(tmp_path, about):
    path = tmp_path / 'tracks.npz'
    with path.open('wb') as file:
        np.savez(file, **{**parts(), 'about': np.array(json.dumps(about))})
    with only(SavedTracksError, names=path.name):
        resume(path)
