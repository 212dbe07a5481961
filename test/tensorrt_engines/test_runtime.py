# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracker on TensorRT engines, with a fake device; ONNX Runtime runs the engines."""

from __future__ import annotations

import gc
from itertools import islice

import numpy as np
import pooled
import pytest
from fakes import trt as fake_trt
from fakes.device import FakeDevice, MisuseError

from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.evaluation.dataset import open_dataset
from tam_ros.export.onnx import export_model
from tam_ros.graph_files import graph_file
from tam_ros.loading import open_exported
from tam_ros.model_files import SINGLE_MEMORY, as_tracker, read_spec
from tam_ros.runtime.base import EngineError, PromptTokens
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tensorrt.buffers import Rows
from tam_ros.tensorrt.builder import BuildSettings, build_engine
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.runtime import TensorrtRuntime
from tam_ros.tracking import Prompt, Tracker, TrackerOptions
from tam_ros.tracking.prompts import point_tokens

FOLDER = catalogue.engines_dir() / 'efficienttam_nano'
SPEC = as_tracker(read_spec(FOLDER))


@pytest.fixture(scope='module')
def plans():
    """Plans for at most two objects per run."""
    trt = fake_trt.make()
    return {
        name: build_engine(
            trt, name, graph_file(FOLDER, name, 'fp32').read_bytes(), BuildSettings(max_batch=2)
        ).plan
        for name in SPEC.graph_names
    }


def opened(plans, device=None, spec=SPEC, **options):
    trt = fake_trt.make()
    device = device or FakeDevice()
    engines = {name: Engine(trt, name, plan) for name, plan in plans.items()}
    return TensorrtRuntime(spec, engines, device, EngineOptions(**options), {}), device


def clip(scene, tracker, frames, prompts):
    """Return the masks of each frame by object."""
    return [
        {
            item.id: item.mask
            for item in tracker.step(
                scene.frame(index)[0], index / 15, prompts.get(index, ())
            ).objects
        }
        for index in range(frames)
    ]


@pytest.mark.slow
@pytest.mark.parametrize('options', [{}, {'zero_copy': True, 'cuda_graphs': True}])
def test_masks_are_those_of_onnx_runtime(plans, options):
    """Three objects, more than one batch: one begins later and is refined, one is late."""
    scene = DemoScene()
    box = next(p.box for p in scene.prompts if p.object_id == 1)
    y, x = np.argwhere(scene.frame(4)[1] == 2).mean(0)
    prompts = {
        0: [Prompt.box(1, box)],
        3: [Prompt.mask(2, scene.frame(3)[1] == 2)],
        4: [Prompt.points(2, [(x, y)], [1])],
        6: [Prompt.box(3, (20, 20, 120, 90), stamp=2 / 15)],
    }
    limits = TrackerOptions(max_objects=4, prompt_history_seconds=1.0, prompt_history_frames=6)
    runtime, device = opened(plans, **options)
    ours = clip(scene, Tracker(runtime, limits), 10, prompts)
    theirs = clip(scene, Tracker(open_exported(FOLDER), limits), 10, prompts)
    assert [set(frame) for frame in ours] == [set(frame) for frame in theirs]
    assert set(ours[-1]) == {1, 2, 3}
    for frame, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        for number, mask in mine.items():
            assert np.array_equal(mask, reference[number]), (frame, number)
    assert any(mask.any() for mask in ours[-1].values())
    # Everything was allocated when the tracker was created.
    kinds = [kind for kind, *_ in device.journal]
    first_run = kinds.index('run')
    assert not {'allocate', 'pinned'} & set(kinds[first_run:])
    assert (device.launches > 0) == options.get('cuda_graphs', False)
    copies = {'upload', 'download'} & set(kinds)
    assert copies == (set() if options.get('zero_copy') else {'upload', 'download'})
    runtime.close()
    assert device.closed and device.allocated == 0


@pytest.mark.slow
def test_pooled_masks_in_half_precision_are_those_of_onnx_runtime(tmp_path, monkeypatch):
    """A pooled model has one more graph, for objects with a single memory."""
    folder = export_model(
        pooled.add(monkeypatch), FOLDER / 'efficienttam_nano.safetensors', tmp_path / 'graphs'
    )
    spec = as_tracker(read_spec(folder))
    assert SINGLE_MEMORY in spec.graph_names
    trt = fake_trt.make()
    plans = {
        name: build_engine(
            trt, name, graph_file(folder, name, 'fp16').read_bytes(), BuildSettings(max_batch=2)
        ).plan
        for name in spec.graph_names
    }
    runtime, _ = opened(plans, spec=spec)
    scene = DemoScene()
    prompts = {
        0: [Prompt.mask(1, scene.frame(0)[1] == 1)],
        2: [Prompt.mask(2, scene.frame(2)[1] == 2)],
    }
    ours = clip(scene, Tracker(runtime), 5, prompts)
    theirs = clip(scene, Tracker(open_exported(folder, precision='fp16')), 5, prompts)
    for mine, reference in zip(ours, theirs, strict=True):
        assert all(np.array_equal(mask, reference[number]) for number, mask in mine.items())
    assert ours[-1][1].any() and ours[-1][2].any()


@pytest.mark.slow
def test_masks_on_a_real_sequence_are_those_of_onnx_runtime(plans, shared_data):
    (sequence,) = open_dataset(shared_data, ['comp-blackswan-dog'])
    frames = list(islice(sequence, 8))
    prompts = [
        Prompt.mask(int(number), frames[0].labels == number)
        for number in np.unique(frames[0].labels)
        if number not in (0, 255)
    ]
    assert len(prompts) == 2
    runtime, _ = opened(plans, zero_copy=True)
    seen = []
    for backend in (runtime, open_exported(FOLDER)):
        tracker = Tracker(backend)
        seen.append(
            [
                tracker.step(frame.image, index / 24, () if index else prompts).labels
                for index, frame in enumerate(frames)
            ]
        )
        tracker.close()
    for ours, theirs in zip(*seen, strict=True):
        assert np.array_equal(ours, theirs) and len(np.unique(ours)) == 3


@pytest.fixture
def ready(plans):
    runtime, device = opened(plans)
    runtime.allocate(4, 9, 17, images=2)
    return runtime, device


def image(seed):
    return np.random.default_rng(seed).integers(
        0, 256, (SPEC.image_size, SPEC.image_size, 3), np.uint8
    )


def values(device, handle, stride):
    device.wait()
    return np.concatenate([device.find(address, stride)[1] for address in handle.addresses])


def test_encoded_images_keep_their_values_while_they_are_referred_to(ready):
    runtime, device = ready
    one = runtime.image_encoder(image(1))
    stride = runtime._stride
    first = values(device, one.raw, stride).copy()
    raw = one.raw
    del one  # a reference to a part keeps the whole
    two, three = runtime.image_encoder(image(2)), runtime.image_encoder(image(3))
    assert np.array_equal(values(device, raw, stride), first)
    assert not np.array_equal(values(device, two.raw, stride), first)
    places = {handle.addresses for handle in (raw, two.raw, three.raw)}
    assert len(places) == 3
    del raw, two
    gc.collect()
    assert runtime.image_encoder(image(4)).raw.addresses in places, 'memory is reused'


def test_many_prompts_on_one_image_are_decoded_as_each_alone(ready):
    """As image mode does: one source for all, and more prompts than an engine runs at once."""
    runtime, _ = ready
    features = runtime.image_encoder(image(1))
    clicks = [(40, 50), (200, 60), (90, 220), (300, 300), (150, 150)]
    tokens = [
        point_tokens(np.array([xy], np.float32), np.array([1]), None, (384, 384), SPEC)
        for xy in clicks
    ]
    alone = [runtime.mask_decoder(features, features.without_memory, one) for one in tokens]
    together = runtime.mask_decoder(
        features,
        features.without_memory,
        PromptTokens(*map(np.concatenate, zip(*tokens, strict=True))),
    )
    for index, expected in enumerate(alone):
        np.testing.assert_allclose(together.masks[index], expected.masks[0], atol=1e-4)
        np.testing.assert_allclose(together.ious[index], expected.ious[0], atol=1e-5)


def test_more_images_than_planned_get_more_memory(ready, caplog):
    caplog.set_level('INFO')
    runtime, _ = ready
    kept = [runtime.image_encoder(image(seed)) for seed in range(4)]
    assert len({features.raw.addresses for features in kept}) == 4
    assert 'MB more for images' in caplog.text


def test_features_and_memories_stay_on_the_device(ready):
    runtime, device = ready
    features = runtime.image_encoder(image(0))
    device.journal.clear()
    masks = np.zeros((3, SPEC.mask_size, SPEC.mask_size), np.float32)
    memories = runtime.memory_encoder(features, masks, np.zeros(3, np.float32))
    runtime.store([0, 1, 2], [0, 0, 0], [0, 0, 0], memories, np.zeros((3, SPEC.dim), np.float32))
    moved = [entry for entry in device.journal if entry[0] in ('upload', 'download')]
    assert max(nbytes for _, nbytes in moved) == 2 * masks[0].nbytes
    assert [batch for kind, *_, batch in device.journal if kind == 'run'] == [2, 1]
    assert sum(kind == 'copy' for kind, *_ in device.journal) == 3
    assert not [entry for entry in device.journal if entry[0] == 'download']


def test_rows_are_read_and_written(ready):
    runtime, device = ready
    rng = np.random.default_rng(0)
    memories = rng.standard_normal((9, SPEC.memory_tokens, SPEC.memory_dim)).astype(np.float32)
    pointers = rng.standard_normal((17, SPEC.dim)).astype(np.float32)
    runtime.write_row(2, memories, pointers)
    for read, written in zip(runtime.read_row(2), (memories, pointers), strict=True):
        assert np.array_equal(read, written)
    for row in (1, 3):
        assert not runtime.read_row(row)[0].any(), 'unwritten memory is zero'


def test_engines_of_different_models_are_refused(plans):
    trt = fake_trt.make()
    other = dict(plans, memory_encoder=plans['image_encoder'])
    engines = {name: Engine(trt, name, plan) for name, plan in other.items()}
    with pytest.raises(EngineError, match='are not of one model'):
        TensorrtRuntime(SPEC, engines, FakeDevice(), EngineOptions(), {})


def test_everything_is_released_after_a_fault_of_the_device(ready, monkeypatch):
    runtime, device = ready
    runtime.image_encoder(image(0))
    device.wait()

    def fault():
        monkeypatch.undo()
        raise RuntimeError('an illegal memory access')

    monkeypatch.setattr(device, 'wait', fault)
    with pytest.raises(RuntimeError, match='illegal'):
        runtime.close()
    assert device.closed and device.allocated == 0
    runtime.close()


def test_an_invalid_plan_is_refused():
    with pytest.raises(EngineError, match='mask_decoder cannot be loaded: magicTag mismatch'):
        Engine(fake_trt.make(), 'mask_decoder', b'something else')


def test_too_little_device_memory_is_reported(plans):
    runtime, device = opened(plans, FakeDevice(total=30_000_000))
    with pytest.raises(EngineError, match='MB cannot be allocated'):
        runtime.allocate(16, 40, 50, images=30)
    runtime.close()
    assert device.closed and device.allocated == 0


def test_without_cuda_graphs_in_the_driver_the_runtime_works(plans, caplog):
    runtime, device = opened(plans, FakeDevice(records=False), cuda_graphs=True)
    runtime.allocate(1, 9, 17)
    for _ in range(4):
        runtime.image_encoder(image(0))
    assert 'image_encoder runs without CUDA graphs: this driver cannot record' in caplog.text
    assert caplog.text.count('cannot record') == 1
    assert device.launches == 0


def test_rows_are_used_in_place_only_where_an_engine_accepts_the_address():
    assert Rows((512, 640, 768), ()).contiguous(128)
    assert not Rows((640, 768), ()).contiguous(128), 'not a multiple of 256'
    assert not Rows((512, 768), ()).contiguous(128)
    assert Rows((1024,), ()).contiguous(128)


def test_device_memory_is_reported(ready):
    runtime, device = ready
    memory = runtime.device_memory()
    assert memory.used == device.allocated and memory.free + memory.used == memory.total


@pytest.mark.slow
def test_a_steady_stream_is_launched_from_recordings(plans):
    runtime, device = opened(plans, cuda_graphs=True)
    tracker = Tracker(runtime, TrackerOptions(max_objects=2))
    scene = DemoScene()
    tracker.step(scene.frame(0)[0], 0.0, [Prompt.mask(1, scene.frame(0)[1] == 1)])
    for index in range(1, 5):
        tracker.step(scene.frame(index)[0], index / 15)
    device.journal.clear()
    launches = device.launches
    tracker.step(scene.frame(5)[0], 5 / 15)
    assert device.launches == launches + 4
    assert not [entry for entry in device.journal if entry[0] == 'run']


# --- the fake device detects these faults ---


def test_reading_results_too_early_is_detected(ready):
    runtime, device = ready
    features = runtime.image_encoder(image(0))
    block, data = device.find(features.raw.addresses[0], runtime._stride)
    assert not data.any(), 'the output is empty until the host waits'
    device.wait()
    assert data.any()


def test_overwriting_memory_before_it_is_copied_is_detected(ready):
    runtime, device = ready
    runtime.image_encoder(image(0))
    runtime._runners['image_encoder']._done = None  # do not wait
    runtime.image_encoder(image(1))
    with pytest.raises(MisuseError, match='changed before it was copied'):
        device.wait()


def test_use_of_released_memory_is_detected(ready):
    runtime, device = ready
    features = runtime.image_encoder(image(0))
    with pytest.raises(MisuseError, match='while it is in use'):
        device.find(features.raw.addresses[0], 1)[0].free()
    device.wait()
    device.find(features.raw.addresses[0], 1)[0].free()
    masks = np.zeros((1, SPEC.mask_size, SPEC.mask_size), np.float32)
    with pytest.raises(MisuseError, match='after it was released'):
        runtime.memory_encoder(features, masks, np.zeros(1, np.float32))
