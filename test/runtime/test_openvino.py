# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO computes what ONNX Runtime does, in both precisions and for any number of objects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tam_ros import catalogue
from tam_ros.loading import open_exported, open_graphs, open_runtime
from tam_ros.model_files import ABSENT, PADDING, WeightsError
from tam_ros.runtime.base import BankRows, EngineError, PromptTokens

# Not from openvino itself, whose plain import sends a usage report.
from tam_ros.runtime.openvino import hint, properties

ROOT = Path(__file__).resolve().parents[2]
NAME = 'efficienttam_nano'
GRAPHS = catalogue.engines_dir() / NAME


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    """Compile into a folder of these tests, not into the user's cache."""
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TAM_ROS_CACHE', str(folder))
        yield folder


@pytest.fixture(scope='module')
def reference():
    return open_exported(GRAPHS, threads=1)


@pytest.fixture(scope='module')
def single():
    return open_runtime(NAME, runtime='openvino', threads=1, precision='fp32')


@pytest.fixture(scope='module')
def half():
    try:
        return open_runtime(NAME, runtime='openvino', threads=1, precision='bf16')
    except EngineError as error:
        pytest.skip(str(error))


class Stream:
    """Calls a runtime as a tracker does over several frames, with random numbers."""

    def __init__(self, runtime, rows=4):
        self.runtime, self.spec = runtime, runtime.spec
        runtime.allocate(rows, self.spec.slots + 1, self.spec.pointer_slots + 1)
        self.random = np.random.default_rng(0)
        for row in range(rows):
            runtime.write_row(
                row,
                *(
                    self.random.normal(size=x.shape).astype(np.float32)
                    for x in runtime.read_row(row)
                ),
            )

    def frame(self, rows, memories=7):
        """Return all outputs of the four functions for some objects."""
        spec, objects = self.spec, len(rows)
        image = self.random.integers(0, 256, (spec.image_size, spec.image_size, 3), np.uint8)
        features = self.runtime.image_encoder(image)

        def columns(count, valid):
            slots = np.stack([self.random.permutation(count + 1)[:count] for _ in rows])
            used = np.zeros((objects, count), np.float32)
            used[:, :valid] = 1
            return slots, used

        slots, valid = columns(spec.slots, memories)
        pointers, pointers_valid = columns(spec.pointer_slots, memories)
        bank = BankRows(
            np.array(rows),
            slots,
            np.tile(np.arange(spec.slots), (objects, 1)),
            valid,
            pointers,
            pointers_valid,
        )
        conditioned = self.runtime.memory_attention(features, bank)
        labels = np.full((objects, spec.point_tokens), ABSENT, np.int64)
        labels[:, 0], labels[:, 1] = 1, PADDING
        points = self.random.uniform(0, spec.image_size, (*labels.shape, 2)).astype(np.float32)
        side = spec.mask_size
        tokens = PromptTokens(
            points,
            labels,
            np.zeros((objects, 1, side, side), np.float32),
            np.zeros(objects, np.float32),
        )
        candidates = self.runtime.mask_decoder(features, conditioned, tokens)
        first = self.runtime.mask_decoder(features, features.without_memory, tokens)
        memory = self.runtime.memory_encoder(
            features, candidates.masks[:, 0], np.zeros(objects, np.float32)
        )
        slot = [spec.slots] * objects
        self.runtime.store(list(rows), slot, slot, memory, candidates.pointers[:, 0])
        return {
            'features': features.raw,
            'without_memory': features.without_memory,
            'conditioned': conditioned,
            'masks': candidates.masks,
            'ious': candidates.ious,
            'scores': candidates.scores,
            'pointers': candidates.pointers,
            'first masks': first.masks,
            'memory': memory,
            'row': self.runtime.read_row(rows[-1])[0],
        }


def deviation(ours, theirs):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return np.abs(ours - theirs).max() / max(theirs.std(), np.abs(theirs).max() / 10, 1e-3)


# The number of objects changes from frame to frame.
FRAMES = [([0], 1), ([0, 2, 1], 7), ([3], 7), ([1, 3], 4), ([0, 1, 2, 3], 7), ([2], 1)]


def test_single_precision_is_that_of_onnxruntime(single, reference):
    ours, theirs = Stream(single), Stream(reference)
    for rows, memories in FRAMES:
        got, wanted = ours.frame(rows, memories), theirs.frame(rows, memories)
        for name, value in got.items():
            # A value that is rounded to bfloat16 the other way differs by 2^-8.
            limit = 0.05 if name in ('memory', 'row') else 2e-3
            assert deviation(value, wanted[name]) <= limit, (name, rows)


def test_bfloat16_is_close_and_used_only_where_it_is_faster(half, single):
    ours, theirs = Stream(half), Stream(single)
    got, wanted = ours.frame([0, 1]), theirs.frame([0, 1])
    for name in ('features', 'conditioned'):
        assert 1e-4 < deviation(got[name], wanted[name]) < 0.1, name
    assert half.info['precision'] == 'bfloat16' and single.info['precision'] == 'float32'
    # Given the same features, masks and memories are those of single precision.
    random = np.random.default_rng(1)
    features, mask = (
        random.normal(size=x.shape).astype(np.float32)
        for x in (wanted['features'], wanted['masks'][:1, :1])
    )
    inputs = {'features': features, 'masks': mask, 'prompted': np.ones(1, np.float32)}
    memories = []
    for precision in ('bf16', 'fp32'):
        graphs = open_graphs(NAME, runtime='openvino', threads=1, precision=precision)
        memories.append(graphs.sessions['memory_encoder'].run(inputs)['memory'])
    np.testing.assert_allclose(*memories, rtol=1e-5, atol=1e-5)


def test_images_of_floats_are_encoded_as_well_and_bytes_give_the_same(single):
    image = np.random.default_rng(3).integers(1, 255, (384, 384, 3), np.uint8)
    features = single.image_encoder(image).raw
    assert np.array_equal(single.image_encoder(image.astype(np.float32)).raw, features)
    between = single.image_encoder(image + np.float32(0.25)).raw
    assert single.float_images and not np.array_equal(between, features)


def test_handles_keep_their_values(single):
    image = np.zeros((single.spec.image_size,) * 2 + (3,), np.uint8)
    features = single.image_encoder(image)
    before = features.raw.copy()
    single.image_encoder(255 - image)
    assert np.array_equal(features.raw, before)


def test_memories_are_rounded_to_bfloat16(single):
    memory = Stream(single).frame([0])['memory']
    assert not np.any(memory.view(np.uint32) & 0xFFFF)


def test_threads_are_those_asked_for():
    graphs = open_graphs(NAME, runtime='openvino', threads=1, precision='fp32')
    for session in graphs.sessions.values():
        compiled = session._request.get_compiled_model()
        assert compiled.get_property(properties.inference_num_threads) == 1


class Core:
    """Reports a processor without bf16."""

    def get_property(self, device, name):
        return {
            'OPTIMIZATION_CAPABILITIES': ['FP32', 'INT8'],
            'FULL_DEVICE_NAME': 'Some processor',
        }[name()]


def test_a_processor_without_bf16_says_so(monkeypatch):
    monkeypatch.setattr('openvino.Core', Core)
    with pytest.raises(EngineError, match='Some processor cannot compute in bf16; .*fp32'):
        open_runtime(NAME, runtime='openvino', precision='bf16')


def test_bf16_is_used_only_where_it_is_asked_for(single):
    graphs = open_graphs(NAME, runtime='openvino', threads=1)
    assert graphs.info['precision'] == 'float32'
    for session in graphs.sessions.values():
        compiled = session._request.get_compiled_model()
        assert compiled.get_property(hint.inference_precision).get_type_name() == 'f32'


def test_compiled_graphs_are_cached_and_damaged_ones_replaced(cache, single):
    image = np.full((single.spec.image_size,) * 2 + (3,), 90, np.uint8)
    wanted = single.image_encoder(image).raw
    files = list((cache / 'openvino').iterdir())
    assert len(files) >= 4 and (cache / 'openvino').stat().st_mode & 0o077 == 0
    times = {path: path.stat().st_mtime_ns for path in files}
    again = open_runtime(NAME, runtime='openvino', threads=1, precision='fp32')
    assert {path: path.stat().st_mtime_ns for path in files} == times, 'nothing is compiled twice'
    assert np.array_equal(again.image_encoder(image).raw, wanted)
    for path in files:
        path.chmod(0o600)
        os.truncate(path, path.stat().st_size // 2)
    again = open_runtime(NAME, runtime='openvino', threads=1, precision='fp32')
    assert np.array_equal(again.image_encoder(image).raw, wanted)


def test_a_damaged_graph_is_named(tmp_path):
    for path in GRAPHS.iterdir():
        (tmp_path / path.name).symlink_to(path)
    broken = tmp_path / 'mask_decoder_fp32.onnx'
    broken.unlink()
    broken.write_bytes(b'not a graph')
    with pytest.raises(WeightsError, match='mask_decoder_fp32.onnx cannot be read as a graph'):
        open_runtime(NAME, tmp_path, 'openvino')


def in_a_fresh_interpreter(code, **environment):
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
        env=os.environ | environment,
    ).stdout.split()


def test_no_usage_report_is_sent(tmp_path):
    """A plain `import openvino` counts itself in ~/intel and sends a report; tests must not."""
    output = in_a_fresh_interpreter(
        'import sys, tam_ros.runtime.openvino; '
        'print(any(name.startswith("openvino_telemetry") for name in sys.modules))',
        HOME=str(tmp_path),
    )
    assert output == ['False']
    assert not list(tmp_path.iterdir())


def test_it_needs_neither_torch_nor_onnx():
    modules = in_a_fresh_interpreter('import sys, tam_ros.runtime.openvino; print(*sys.modules)')
    assert not {'torch', 'onnx', 'onnxruntime', 'rclpy'} & set(modules)


def test_the_message_where_it_is_not_installed():
    message = in_a_fresh_interpreter(
        "import sys; sys.modules['openvino'] = None\n"
        'from tam_ros.loading import open_runtime\n'
        'from tam_ros.runtime.base import EngineError\n'
        "try: open_runtime('efficienttam_nano', runtime='openvino')\n"
        'except EngineError as error: print(error)'
    )
    assert 'pip install' in ' '.join(message)
