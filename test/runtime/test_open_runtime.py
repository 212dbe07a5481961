# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opening a model: which weights are taken, and what is said of those that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros import catalogue
from tam_ros.catalogue import UnknownModelError
from tam_ros.loading import open_runtime
from tam_ros.model_files import WeightsError

torch = pytest.importorskip('torch')
NAME = 'efficienttam_nano'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep the user's cache out of it."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='module')
def state():
    """Return a fitting state_dict."""
    from tam_ros.models.build import build_network

    return build_network(catalogue.model(NAME), 'untrained').state_dict()


def damaged(state, tmp_path, what):
    """Write a checkpoint with something wrong with it."""
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
    if what == 'code':  # a pickle that would run something when loaded
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
        # never downloaded: says how
        ('efficienttam_s', None, 'torch', WeightsError, 'tam weights get efficienttam_s'),
    ],
)
def test_what_cannot_be_opened(model, weights, runtime, error, message):
    with pytest.raises(error, match=message):
        open_runtime(model, weights, runtime)


def test_folder_that_holds_no_graphs(tmp_path):
    with pytest.raises(WeightsError, match='no folder of graphs'):
        open_runtime(NAME, tmp_path, 'onnxruntime')


def test_checkpoint_is_exported_once(state, tmp_path, cache, monkeypatch):
    from safetensors.torch import save_file

    path = tmp_path / 'weights.safetensors'
    save_file({key: value.half() for key, value in state.items()}, path)
    runtime = open_runtime(NAME, path, 'onnxruntime', threads=1)
    assert runtime.spec.weights.startswith('weights.safetensors')
    (folder,) = (cache / 'graphs').iterdir()

    def fail(*_):
        raise AssertionError('exported twice')

    monkeypatch.setattr('tam_ros.export.export_model', fail)
    open_runtime(NAME, path, 'onnxruntime')
    # A graph that was damaged since is named.
    (folder / 'mask_decoder_fp32.onnx').write_bytes(b'not a graph')
    with pytest.raises(WeightsError, match='mask_decoder_fp32.onnx cannot be loaded'):
        open_runtime(NAME, path, 'onnxruntime')
    (folder / 'model.json').write_text('{}')
    with pytest.raises(WeightsError, match='export them again'):
        open_runtime(NAME, path, 'onnxruntime')


def test_untrained_weights_say_so_and_are_the_same_every_time():
    one, two = (open_runtime(NAME, 'untrained', 'torch') for _ in range(2))
    assert one.spec.weights.startswith('untrained')
    image = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    assert torch.equal(one.image_encoder(image).raw, two.image_encoder(image).raw)
