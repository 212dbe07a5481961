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
from tam_ros.models.memory_attention import POOL_OFFSET, MemoryCrossAttention
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
    """Return a small network with random weights everywhere, zeros included."""
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
    """EfficientTAM, Lemma 1: equal keys and values in each 2x2 window lose nothing by pooling."""
    grid, dim, memory_dim = 8, 64, 16
    attention = MemoryCrossAttention(dim, memory_dim, grid, key_offset=False).double()
    from tam_ros.models.memory_attention import MemoryTokens

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
    # The lemma speaks of equal keys as they enter the product: the same rotation everywhere.
    still = (
        torch.ones(grid * grid, dim // 2, dtype=torch.double),
        torch.zeros(grid * grid, dim // 2, dtype=torch.double),
    )
    full = attention(x, tokens, still, still, pooled=False)
    pooled = attention(x, tokens, still, still, pooled=True)
    torch.testing.assert_close(pooled, full, rtol=1e-10, atol=1e-12)
    monkeypatch.setattr('tam_ros.models.memory_attention.POOL_OFFSET', 0.0)
    without = attention(x, tokens, still, still, pooled=True)
    assert (without - full).abs().max() > 1e-3, 'the ln 4 is what makes it exact'


@pytest.mark.parametrize('kind', ['full', 'pooled', 'pooled_key_offset'])
def test_order_of_slots_does_not_matter(kind):
    network = random_network(cross_attention=kind)
    given = bank(network)
    pooled = network.config.pooled
    order = torch.tensor([2, 0, 1])
    moved = dict(
        given,
        memories=given['memories'][:, order],
        temporal_index=given['temporal_index'][:, order],
        pointers=given['pointers'].flip(1),
    )
    torch.testing.assert_close(
        network.attend_memory(**moved, pooled=pooled),
        network.attend_memory(**given, pooled=pooled),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize('kind', ['full', 'pooled', 'pooled_key_offset'])
def test_empty_slots_are_as_if_they_were_not_there(kind):
    network = random_network(cross_attention=kind)
    given = bank(network)
    pooled = network.config.pooled
    short = dict(
        given,
        memories=given['memories'][:, :2],
        temporal_index=given['temporal_index'][:, :2],
        memory_valid=given['memory_valid'][:, :2],
        pointers=given['pointers'][:, :3],
        pointer_valid=given['pointer_valid'][:, :3],
    )
    masked = dict(
        given,
        memory_valid=torch.tensor([[1.0, 1.0, 0.0]]),
        pointer_valid=torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]]),
    )
    torch.testing.assert_close(
        network.attend_memory(**masked, pooled=pooled),
        network.attend_memory(**short, pooled=pooled),
        rtol=1e-4,
        atol=1e-5,
    )


def test_objects_of_a_batch_do_not_see_each_other():
    network = random_network()
    given = bank(network, objects=3)
    together = network.attend_memory(**given, pooled=False)
    for i in range(3):
        alone = {
            key: value if key == 'features' else value[i : i + 1] for key, value in given.items()
        }
        torch.testing.assert_close(
            network.attend_memory(**alone, pooled=False), together[i : i + 1], rtol=1e-4, atol=1e-5
        )


def test_rotation_turns_pairs_by_position():
    cosine, sine = AxialRotation(16, 4)()
    x = torch.randn(2, 16, 16)
    turned = rotate(x, cosine, sine)
    as_complex = torch.complex(x[..., :8], x[..., 8:]) * torch.complex(cosine, sine)
    torch.testing.assert_close(turned, torch.cat((as_complex.real, as_complex.imag), -1))
    torch.testing.assert_close(turned[:, 0], x[:, 0])  # the origin does not turn


def test_queries_meet_keys_as_if_neighbouring_channels_had_turned():
    """The official way: the pairs (2i, 2i + 1) of the projections as they are."""
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
