# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Properties of EdgeTAM that hold for any weights."""

from __future__ import annotations

import pytest
import torch

from tam_ros import catalogue
from tam_ros.models.config import EdgeTAMConfig
from tam_ros.models.edgetam import EdgeTAM
from tam_ros.models.layers import SinePosition
from tam_ros.models.repvit import fuse
from tam_ros.models.rope import AxialRotation, rotate

SMALL = EdgeTAMConfig(
    image_size=128,
    trunk_dims=(8, 16, 24, 32),
    trunk_depths=(1, 1, 2, 1),
    dim=64,
    memory_dim=16,
    memory_mlp_dim=64,
    decoder_heads=2,
    decoder_mlp_dim=64,
    global_latents=6,
    patch_grid=4,
)


@pytest.fixture
def network():
    """Return a small network with random weights and batch statistics."""
    torch.manual_seed(0)
    network = EdgeTAM(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    with torch.inference_mode():
        yield network


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_outputs_of_the_functions_are_inputs_of_the_others(network):
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    features, without_memory, *high_resolution = network.encode_image(image)
    assert [tuple(x.shape) for x in (features, without_memory, *high_resolution)] == [
        (1, 64, 8, 8),
        (1, 64, 8, 8),
        (1, 16, 16, 16),
        (1, 8, 32, 32),
    ]
    points, labels = torch.tensor([[[20.0, 30.0], [0, 0]]] * 3), torch.tensor([[1, -1]] * 3)
    prompt = points, labels, torch.zeros(3, 1, 32, 32), torch.zeros(3)
    masks, *_, pointers = network.decode_masks(without_memory, *prompt, *high_resolution)
    memory = network.encode_memory(features, masks[:, :1], torch.ones(3))
    assert memory.shape == (3, 6 + 16, 16)
    conditioned = network.attend_memory(
        features,
        memory[:, None],
        torch.full((3, 1), 6),
        torch.ones(3, 1),
        pointers[:, :1],
        torch.ones(3, 1),
        False,
    )
    assert conditioned.shape == (3, 64, 8, 8)
    masks, *_ = network.decode_masks(conditioned, *prompt, *high_resolution)
    assert masks.shape == (3, 4, 32, 32)
    plain, *_ = network.decode_masks(
        conditioned, *prompt, *(torch.zeros_like(x) for x in high_resolution)
    )
    assert (masks - plain).abs().max() > 1e-3, 'the finer features have no effect'


def test_objects_of_a_batch_are_independent(network):
    features = torch.randn(1, 64, 8, 8)
    masks = torch.randn(3, 1, 32, 32) * 5
    prompted = torch.tensor([0.0, 1.0, 0.0])
    together = network.encode_memory(features, masks, prompted)
    for i in range(3):
        close(
            network.encode_memory(features, masks[i : i + 1], prompted[i : i + 1]),
            together[i : i + 1],
        )


def test_patch_latents_depend_on_their_window_and_global_ones_on_the_whole_map(network):
    memory = torch.randn(1, 16, 8, 8)
    changed = memory.clone()
    changed[..., 2:4, 6:8] = torch.randn(16, 2, 2)  # the last window of the second row of windows
    before, after = network.spatial_perceiver(memory), network.spatial_perceiver(changed)
    differ = ((before - after).abs().amax((0, 2)) > 1e-4).tolist()
    assert differ == [True] * 6 + [index == 7 for index in range(16)]


def test_global_tokens_have_no_position():
    position = SinePosition(16, 4, global_tokens=3)()
    assert not position[:3].any()
    close(position[3:], SinePosition(16, 4)())
    tables = AxialRotation(16, 4, global_tokens=3)()
    x = torch.randn(2, 19, 16)
    rotated = rotate(x, *tables)
    close(rotated[:, :3], x[:, :3])
    close(rotated[:, 3:], rotate(x[:, 3:], *AxialRotation(16, 4)()))


def test_fused_network_computes_the_same(network):
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    expected = network.encode_image(image)
    fuse(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    for ours, theirs in zip(network.encode_image(image), expected, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize('name', ['edgetam', 'edgetam_768', 'edgetam_512'])
def test_one_checkpoint_fits_every_size(name):
    config = EdgeTAMConfig(**catalogue.model(name).config)
    assert config.memory_tokens == 512
    with torch.device('meta'):
        shapes = [
            {key: value.shape for key, value in EdgeTAM(each).state_dict().items()}
            for each in (config, EdgeTAMConfig())
        ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize('size', [384, 640, 896])
def test_sizes_that_the_windows_do_not_divide_are_refused(size):
    with pytest.raises(ValueError, match='use a multiple of 256'):
        EdgeTAMConfig(image_size=size)
