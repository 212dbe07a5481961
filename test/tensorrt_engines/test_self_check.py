# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""When outputs agree with the reference, and how the reference is computed."""

from __future__ import annotations

import os

import numpy as np
import pooled
import pytest

from tam_ros import catalogue
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_exported
from tam_ros.model_files import SINGLE_MEMORY, as_tracker, read_spec
from tam_ros.tensorrt import golden
from tam_ros.tensorrt.golden import (
    AFTER_ONE,
    PROMPTED,
    cached_references,
    compute_references,
    load_references,
)
from tam_ros.tensorrt.self_check import LEAST_COSINE, check_runtime, compare


@pytest.fixture(scope='module')
def reference(folder, spec):
    return compute_references(folder, spec)


def noise(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_equal_outputs_agree():
    outputs = {'masks': noise(0, 1, 4, 8, 8), 'scores': noise(1, 1, 1)}
    found = compare(outputs, outputs)
    assert found.good and found.cosine == pytest.approx(1) and found.iou == 1


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_never_agree(wrong):
    outputs = {'scores': noise(1, 1, 1), 'features': noise(0, 1, 8)}
    results = {name: array.copy() for name, array in outputs.items()}
    results['features'][0, 3] = wrong
    found = compare(outputs, results)
    assert not found.good and found.output == 'features' and np.isnan(found.cosine)


def test_half_precision_agrees_and_noise_does_not():
    outputs = {'features': noise(0, 1, 64, 8, 8)}
    assert compare(outputs, {'features': outputs['features'].astype(np.float16)}).good
    noisy = outputs['features'] + 0.3 * noise(1, 1, 64, 8, 8)
    assert not compare(outputs, {'features': noisy}).good


def test_one_wrong_item_of_a_batch_is_detected():
    outputs = {'features': noise(0, 1, 64)}
    batch = np.repeat(outputs['features'], 4, axis=0)
    assert compare(outputs, {'features': batch}).good
    batch[2] = noise(5, 64)
    assert not compare(outputs, {'features': batch}).good


def test_masks_are_compared_as_masks():
    masks = np.full((1, 4, 32, 32), -3, np.float32)
    masks[:, :, 8:24, 8:24] = 30
    masks[:, :, 8:10, 8:24] = 0.1
    others = masks.copy()
    others[:, :, 8:10, 8:24] = -0.1  # an eighth of the mask is missing, the logits hardly differ
    found = compare({'masks': masks}, {'masks': others})
    assert found.cosine > 0.9999
    assert found.iou == pytest.approx(0.875) and not found.good
    empty = np.full((1, 4, 8, 8), -3, np.float32)
    assert compare({'masks': empty}, {'masks': empty}).iou == 1


def test_zero_agrees_with_zero_only():
    zero, one = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    assert compare({'a': zero}, {'a': zero}).good
    assert not compare({'a': zero}, {'a': one}).good
    assert not compare({'a': one}, {'a': zero}).good


def test_every_graph_of_a_tracker_has_a_realistic_reference(reference, spec):
    assert set(spec.graph_names) | {PROMPTED} == set(reference)
    for name, one in reference.items():
        for output, array in one.outputs.items():
            assert np.isfinite(array).all() and array.any(), (name, output)
    # The drawn disc is segmented, with the prompt and from memory.
    for name in (PROMPTED, 'mask_decoder'):
        outputs = reference[name].outputs
        best = outputs['masks'][0, outputs['ious'][0].argmax()] > 0
        disc, _ = golden._disc(spec.mask_size)
        assert np.count_nonzero(best & disc) > 0.7 * np.count_nonzero(best | disc), name


def test_a_pooled_model_is_checked_with_one_memory_as_well(tmp_path, monkeypatch):
    weights = catalogue.engines_dir() / 'efficienttam_nano' / 'efficienttam_nano.safetensors'
    folder = export_model(pooled.add(monkeypatch), weights, tmp_path / 'graphs')
    spec = as_tracker(read_spec(folder))
    reference = compute_references(folder, spec)
    assert {AFTER_ONE, SINGLE_MEMORY} < set(reference)
    found = check_runtime(open_exported(folder), reference)
    assert f'{SINGLE_MEMORY}, mask_decoder' in found
    assert all(one.good for one in found.values())


@pytest.fixture
def computed(reference, monkeypatch) -> list:
    """Replaces the computation by a known result; lists its calls."""
    calls = []

    def compute(*arguments):
        calls.append(arguments)
        return reference

    monkeypatch.setattr(golden, 'compute_references', compute)
    return calls


def test_the_reference_is_computed_once_and_again_if_it_is_damaged(
    cache, folder, spec, reference, computed
):
    path = cached_references(cache, folder, spec)
    assert cached_references(cache, folder, spec) == path and len(computed) == 1
    path.write_bytes(path.read_bytes()[:1000])
    assert cached_references(cache, folder, spec) == path and len(computed) == 2
    loaded = load_references(path)
    assert set(loaded) == set(reference)
    for name, one in reference.items():
        for output, array in one.outputs.items():
            assert np.array_equal(array, loaded[name].outputs[output])


def test_a_reference_that_other_users_may_write_is_computed_again(cache, folder, spec, computed):
    path = cached_references(cache, folder, spec)
    os.chmod(path, 0o666)
    cached_references(cache, folder, spec)
    assert len(computed) == 2 and path.stat().st_mode & 0o022 == 0


def test_thresholds_are_far_from_rounding_errors(reference):
    """Outputs rounded to half precision, the least error of an fp16 graph, pass easily."""
    for one in reference.values():
        rounded = {name: array.astype(np.float16) for name, array in one.outputs.items()}
        found = compare(one.outputs, rounded)
        assert found.good and found.cosine > 1 - (1 - LEAST_COSINE) / 100
