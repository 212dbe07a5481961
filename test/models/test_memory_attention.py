# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Properties of the memory attention that hold for any weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.memory_attention import POOL_OFFSET, MemoryCrossAttention, MemoryTokens
from tam_ros.models.rope import AxialRotation, deinterleave_projection, rotate

SMALL = EfficientTAMConfig(
    image_size=128,
    trunk_dim=64,
    trunk_heads=1,
    trunk_depth=2,
    window_size=4,
    global_blocks=(1,),
    dim=64,
    memory_dim=16,
    memory_layers=2,
    memory_mlp_dim=64,
    decoder_heads=2,
    decoder_mlp_dim=64,
)


@pytest.fixture(autouse=True)
def seeded():
    """Make random tensors repeatable."""
    torch.manual_seed(0)


def random_network(**changes):
    """Return a small network in which all parameters are random, also those that start at zero."""
    network = EfficientTAM(replace(SMALL, **changes)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def bank(network, objects=1, slots=3):
    """Return random arguments of attend_memory for full banks."""
    config = network.config
    return {
        'features': torch.randn(1, config.dim, config.grid, config.grid),
        'memories': torch.randn(objects, slots, config.grid**2, config.memory_dim),
        'temporal_index': torch.arange(slots).repeat(objects, 1),
        'memory_valid': torch.ones(objects, slots),
        'pointers': torch.randn(objects, 5, config.dim),
        'pointer_valid': torch.ones(objects, 5),
    }


def test_offset_is_ln_4():
    assert math.isclose(POOL_OFFSET, math.log(4))


@pytest.mark.parametrize('frames', [1, 2, 7])
def test_lemma_1_pooled_attention_is_exact_where_windows_are_equal(frames, monkeypatch):
    """EfficientTAM, Lemma 1: pooling is exact for equal keys and values in each 2x2 window."""
    grid, dim, memory_dim = 8, 64, 16
    attention = MemoryCrossAttention(dim, memory_dim, grid, key_offset=False).double()

    def blocky():
        coarse = torch.randn(1, frames, grid // 2, grid // 2, memory_dim, dtype=torch.double)
        fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return fine.reshape(1, frames, grid * grid, memory_dim)

    pointers = torch.randn(1, 8, memory_dim, dtype=torch.double)
    tokens = MemoryTokens(
        blocky(),
        blocky(),
        torch.zeros(1, frames, dtype=torch.double),
        pointers,
        pointers,
        torch.zeros(1, 8, dtype=torch.double),
    )
    x = torch.randn(1, grid * grid, dim, dtype=torch.double) * 3
    # The lemma is about equal keys after the rotation, so nothing is rotated here.
    identity = (
        torch.ones(grid * grid, dim // 2, dtype=torch.double),
        torch.zeros(grid * grid, dim // 2, dtype=torch.double),
    )
    full = attention(x, tokens, identity, identity, pooled=False)
    pooled = attention(x, tokens, identity, identity, pooled=True)
    torch.testing.assert_close(pooled, full, rtol=1e-10, atol=1e-12)
    monkeypatch.setattr('tam_ros.models.memory_attention.POOL_OFFSET', 0.0)
    without = attention(x, tokens, identity, identity, pooled=True)
    assert (without - full).abs().max() > 1e-3, 'it is exact without the ln 4'


@pytest.mark.parametrize('kind', ['full', 'pooled', 'pooled_key_offset'])
def test_the_order_of_slots_has_no_effect(kind):
    network = random_network(cross_attention=kind)
    arguments = bank(network)
    pooled = network.config.pooled
    order = torch.tensor([2, 0, 1])
    moved = dict(
        arguments,
        memories=arguments['memories'][:, order],
        temporal_index=arguments['temporal_index'][:, order],
        pointers=arguments['pointers'].flip(1),
    )
    torch.testing.assert_close(
        network.attend_memory(**moved, pooled=pooled),
        network.attend_memory(**arguments, pooled=pooled),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize('kind', ['full', 'pooled', 'pooled_key_offset'])
def test_empty_slots_have_no_effect(kind):
    network = random_network(cross_attention=kind)
    arguments = bank(network)
    pooled = network.config.pooled
    short = dict(
        arguments,
        memories=arguments['memories'][:, :2],
        temporal_index=arguments['temporal_index'][:, :2],
        memory_valid=arguments['memory_valid'][:, :2],
        pointers=arguments['pointers'][:, :3],
        pointer_valid=arguments['pointer_valid'][:, :3],
    )
    masked = dict(
        arguments,
        memory_valid=torch.tensor([[1.0, 1.0, 0.0]]),
        pointer_valid=torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]]),
    )
    torch.testing.assert_close(
        network.attend_memory(**masked, pooled=pooled),
        network.attend_memory(**short, pooled=pooled),
        rtol=1e-4,
        atol=1e-5,
    )


def test_objects_of_a_batch_are_independent():
    network = random_network()
    arguments = bank(network, objects=3)
    together = network.attend_memory(**arguments, pooled=False)
    for i in range(3):
        alone = {
            key: value if key == 'features' else value[i : i + 1]
            for key, value in arguments.items()
        }
        torch.testing.assert_close(
            network.attend_memory(**alone, pooled=False), together[i : i + 1], rtol=1e-4, atol=1e-5
        )


def test_pairs_of_channels_are_rotated_by_position():
    cosine, sine = AxialRotation(16, 4)()
    x = torch.randn(2, 16, 16)
    rotated = rotate(x, cosine, sine)
    as_complex = torch.complex(x[..., :8], x[..., 8:]) * torch.complex(cosine, sine)
    torch.testing.assert_close(rotated, torch.cat((as_complex.real, as_complex.imag), -1))
    torch.testing.assert_close(rotated[:, 0], x[:, 0])  # the origin is not rotated


def test_products_of_queries_and_keys_are_those_of_the_official_channel_order():
    """The official code rotates the pairs (2i, 2i + 1) of the projections."""
    cosine, sine = AxialRotation(16, 4)()
    layers = [torch.nn.Linear(12, 16) for _ in range(2)]
    x = torch.randn(3, 16, 12)

    def official(layer):
        pairs = torch.view_as_complex(layer(x).reshape(3, 16, 8, 2))
        return torch.view_as_real(pairs * torch.complex(cosine, sine)).flatten(-2)

    q, k = (
        rotate(torch.nn.functional.linear(x, *deinterleave_projection(layer)), cosine, sine)
        for layer in layers
    )
    q_official, k_official = map(official, layers)
    torch.testing.assert_close(q @ k.mT, q_official @ k_official.mT, rtol=1e-5, atol=1e-5)
