# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Attention as two dynamic convolutions, and image encoders that are made of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tam_ros import catalogue
from tam_ros.loading import open_graphs
from tam_ros.model_files import GraphSpec, ModelSpec, TensorSpec
from tam_ros.models import build
from tam_ros.models.config import ATTENTION_MODES, TRUNK_ATTENTIONS, EfficientTAMConfig
from tam_ros.models.family import Family, HalfPrecision
from tam_ros.models.layers import LayerNorm2d, dynamic_attention
from tam_ros.models.vit import DEPTHWISE_SIDE, DynamicDepthwise, ImageEncoder
from training import train

KIT = Path(__file__).resolve().parents[3] / 'shared' / 'parity' / 'others' / 'dynconv' / 'open.npz'
SMALL = {
    'image_size': 96,
    'trunk_dim': 48,
    'trunk_heads': 3,
    'trunk_depth': 2,
    'window_size': 4,
    'global_blocks': [1],
    'dim': 32,
    'memory_dim': 16,
    'memory_layers': 1,
    'memory_mlp_dim': 32,
    'decoder_heads': 2,
    'decoder_mlp_dim': 32,
}
RUNS = (('onnxruntime', 'fp32'), ('onnxruntime', 'fp16'), ('openvino', 'fp32'))


@pytest.mark.parametrize(
    ('mode', 'name'),
    [('softmax', 'softmax_out'), ('relu', 'relu_out'), ('relu_layer_norm', 'relu_ln_out')],
)
def test_modes_are_those_of_the_kit(mode, name):
    if not KIT.is_file():
        pytest.skip(f'{KIT} is absent')
    kit = np.load(KIT)
    found = dynamic_attention(*(torch.from_numpy(kit[one]) for one in 'qkv'), mode)
    np.testing.assert_allclose(found.numpy(), kit[name], atol=1e-6)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'sparse'; one of softmax, relu, relu_layer_norm"):
        dynamic_attention(*torch.zeros(3, 1, 2, 2), 'sparse')


@given(
    seed=st.integers(0, 1000),
    side=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    keys=st.integers(1, 9),
    channels=st.integers(1, 8),
    mode=st.sampled_from(ATTENTION_MODES),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_attention_is_two_dynamic_convolutions(seed, side, keys, channels, mode):
    random = torch.Generator().manual_seed(seed)
    queries = torch.randn(1, channels, *side, generator=random)
    k, v = torch.randn(2, keys, channels, generator=random)
    # Keys are the filters of the first convolution, values, turned around, of the second.
    response = functional.conv2d(queries, k[..., None, None]) / channels**0.5
    response = response.softmax(dim=1) if mode == 'softmax' else response.relu()
    if mode == 'relu_layer_norm':
        response = functional.layer_norm(response.permute(0, 2, 3, 1), [keys])
        response = response.permute(0, 3, 1, 2)
    expected = functional.conv2d(response, v.T[..., None, None])
    tokens = queries.flatten(2).transpose(1, 2)
    found = dynamic_attention(tokens, k[None], v[None], mode)
    torch.testing.assert_close(found.transpose(1, 2).reshape_as(expected), expected)


def test_the_depthwise_block_is_a_grouped_convolution_for_each_image():
    torch.manual_seed(0)
    dim, block = 6, DynamicDepthwise(6)
    x = torch.randn(2, 5, 4, dim)
    expected = []
    for one in x:
        kernel = block.kernel(one.mean((0, 1))).reshape(dim, 1, DEPTHWISE_SIDE, DEPTHWISE_SIDE)
        value = block.value(one).permute(2, 0, 1)[None]
        mixed = functional.conv2d(value, kernel, padding=DEPTHWISE_SIDE // 2, groups=dim)
        expected.append(block.proj(mixed[0].permute(1, 2, 0)))
    torch.testing.assert_close(block(x), torch.stack(expected))


def test_an_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="trunk_attention is 'sparse'"):
        EfficientTAMConfig(trunk_attention='sparse')


class OneGraph(nn.Module):
    """The image encoder of a model, from an image of 8 bits."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)

    def forward(self, image):
        return self.image_encoder(image.float().permute(0, 3, 1, 2) / 127.5 - 1)


def describe(network, name, weights, fingerprint):
    size, grid = network.config.image_size, network.config.grid
    graph = GraphSpec(
        'encode_image',
        (TensorSpec('image', 'uint8', (1, size, size, 3)),),
        (TensorSpec('features', 'float32', (1, network.config.dim, grid, grid)),),
    )
    return ModelSpec(
        name=name, weights=weights, fingerprint=fingerprint, kind='encoder', graphs=(graph,)
    )


FAMILY = Family(
    name='encoder',
    config=EfficientTAMConfig,
    network=OneGraph,
    describe=describe,
    graph_modules=lambda network, spec: {'encode_image': network},
    half_precision=HalfPrecision(('image_encoder',), (nn.LayerNorm, LayerNorm2d), ()),
)


@pytest.mark.parametrize('mode', TRUNK_ATTENTIONS)
def test_an_encoder_of_each_kind_runs_in_every_runtime(mode, monkeypatch, tmp_path):
    entry = catalogue.Model(
        'encoder', 'encoder', '', 'Apache-2.0', {**SMALL, 'trunk_attention': mode}, kind='encoder'
    )
    monkeypatch.setitem(build.FAMILIES, 'encoder', FAMILY)
    monkeypatch.setitem(catalogue.models(), 'encoder', entry)
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)

    def features(runtime, precision='fp32'):
        with open_graphs('encoder', 'untrained', runtime, precision=precision) as graphs:
            return graphs.sessions['encode_image'].run({'image': image})['features']

    expected = features('torch')
    assert expected.std() > 0
    for runtime, precision in RUNS:
        if runtime == 'openvino' and find_spec('openvino') is None:
            continue
        limit = 1e-3 if precision == 'fp32' else 0.03
        difference = np.abs(features(runtime, precision) - expected).max()
        assert difference <= limit * expected.std(), (runtime, precision)


def test_training_accepts_every_kind(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(train, 'launch', lambda settings: found.append(settings.config))
    monkeypatch.setattr(train, 'MALLOC', {})  # or it starts again in another process
    for mode in TRUNK_ATTENTIONS:
        train.main(['--trunk-attention', mode, '--out', str(tmp_path)])
    train.main(['--out', str(tmp_path)])
    assert [one.trunk_attention for one in found] == [*TRUNK_ATTENTIONS, 'softmax']


@pytest.mark.parametrize('mode', TRUNK_ATTENTIONS)
def test_gradients_reach_every_parameter(mode):
    torch.manual_seed(0)
    encoder = ImageEncoder(EfficientTAMConfig(**SMALL, trunk_attention=mode))
    encoder(torch.randn(2, 3, 96, 96)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
