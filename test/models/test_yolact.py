# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The parts of YOLACT; the whole network is compared in test/detection/test_yolact.py."""

from __future__ import annotations

import numpy as np
import otherkit
import pytest
import torch
from torch import nn

from tam_ros import catalogue
from tam_ros.models.build import build_network
from tam_ros.models.deformable import DeformableConv2d
from tam_ros.models.yolact import MaskRescoring, Yolact, YolactConfig, fuse, official_state

NAMES = [model.name for model in catalogue.models().values() if model.architecture == 'yolact']


def config(name):
    return YolactConfig(**catalogue.model(name).config)


def skeleton(name):
    with torch.device('meta'):
        return Yolact(config(name))


def test_the_official_keys_are_those_of_the_network():
    official = otherkit.shapes('yolact/resnet50')
    found = {key: tuple(one.shape) for key, one in skeleton(NAMES[0]).state_dict().items()}
    needed = official_state({key: torch.empty(shape) for key, shape in official.items()})
    assert {key: official[key] for key in needed} == found
    assert {key.split('.')[0] for key in official.keys() - needed.keys()} == {'semantic_seg_conv'}


@pytest.mark.parametrize(
    ('name', 'millions', 'priors', 'deformed'),
    [
        ('yolact_resnet50', 31.1, 19248, []),
        ('yolact_resnet101', 50.1, 19248, []),
        ('yolact_darknet53', 47.8, 19248, []),
        ('yolact_plus_resnet50', 33.7, 57744, [(1, range(4)), (2, range(6)), (3, range(3))]),
        (
            'yolact_plus_resnet101',
            52.6,
            57744,
            [(1, (0, 3)), (2, range(0, 23, 3)), (3, (0,))],
        ),
    ],
)
def test_sizes_of_the_networks(name, millions, priors, deformed):
    network = skeleton(name)
    count = sum(one.numel() for one in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    assert config(name).priors().shape == (priors, 4)
    found = {key for key in network.state_dict() if key.endswith('conv_offset_mask.weight')}
    assert found == {
        f'backbone.layers.{stage}.{block}.conv2.conv_offset_mask.weight'
        for stage, blocks in deformed
        for block in blocks
    }
    assert sorted(NAMES) == sorted(
        ['yolact_resnet50', 'yolact_resnet101', 'yolact_darknet53']
        + ['yolact_plus_resnet50', 'yolact_plus_resnet101']
    )


def test_priors():
    kit = otherkit.arrays('yolact/net_open')
    priors = config('yolact_resnet50').priors()
    np.testing.assert_allclose(priors[::401], kit['priors_sample'], atol=1e-7)
    # Three sizes for each shape, and rectangles.
    first = config('yolact_plus_resnet50').priors()[:9]
    np.testing.assert_allclose(first[:, :2], 0.5 / 69, atol=1e-7)
    sizes = 24 / 550 * 2 ** (np.arange(9) // 3 / 3)
    np.testing.assert_allclose(np.sqrt(first[:, 2] * first[:, 3]), sizes, rtol=1e-6)
    np.testing.assert_allclose(first[:, 2] / first[:, 3], [1, 0.5, 2] * 3, rtol=1e-6)


def filled(module: nn.Module, prefix: str = '') -> nn.Module:
    """Fill a module with weights by their names."""
    module.load_state_dict(
        {
            key: torch.from_numpy(otherkit.weight(prefix + key, tuple(value.shape)))
            for key, value in module.state_dict().items()
        }
    )
    return module.eval()


def test_deformable_convolution_of_the_kit():
    kit = {
        key: torch.from_numpy(one)
        for key, one in otherkit.arrays('yolact/plus_open').items()
        if key.startswith('dcn')
    }
    layer = DeformableConv2d(4, 6)
    layer.weight.data, layer.bias.data = kit['dcn_w'], kit['dcn_b']
    with torch.inference_mode():
        found = layer.convolve(kit['dcn_x'], kit['dcn_off'], kit['dcn_m'])
    np.testing.assert_allclose(found, kit['dcn_y'], atol=1e-5)


@pytest.mark.parametrize('stride', [1, 2])
def test_taps_that_are_not_moved_are_a_convolution(stride):
    layer = filled(DeformableConv2d(5, 7, stride))
    x = torch.randn(1, 5, 11, 8, generator=torch.Generator().manual_seed(0))
    shape = nn.functional.conv2d(x, layer.weight, layer.bias, stride, 1)
    still = torch.zeros(1, 18, *shape.shape[2:]), torch.ones(1, 9, *shape.shape[2:])
    np.testing.assert_allclose(
        layer.convolve(x, *still).detach(), shape.detach(), atol=1e-5, rtol=1e-5
    )


def test_samples_far_outside_are_zero():
    layer = filled(DeformableConv2d(3, 2))
    x, weights = torch.rand(1, 3, 4, 5), torch.ones(1, 9, 4, 5)
    for away in (-1e4, 1e4, 9.0, -9.0):
        found = layer.convolve(x, torch.full((1, 18, 4, 5), away), weights)
        np.testing.assert_allclose(
            found.detach(), layer.bias.detach()[None, :, None, None].expand(1, 2, 4, 5)
        )


def test_mask_rescoring_of_the_kit():
    kit = otherkit.arrays('yolact/plus_open')
    network = filled(MaskRescoring(80), 'maskiou_net.')
    masks = torch.from_numpy(kit['masks'].astype(np.float32))[:, None]
    with torch.inference_mode():
        np.testing.assert_allclose(network(masks), kit['maskiou'], atol=5e-6)


def test_fusing_changes_no_results():
    network = filled(
        Yolact(YolactConfig(image_size=64, blocks=(1, 1, 1, 1), deformable=(0, 1, 1, 1)))
    )
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        before = network(image)
        fuse(network)
        after = network(image)
    assert not any('conv2.bn' in name for name, _ in network.named_modules())
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(a.abs().max()))


def test_random_weights_are_the_same_every_time():
    entry = catalogue.Model(
        name='small',
        architecture='yolact',
        kind='detector',
        description='',
        licence='',
        config={'image_size': 64, 'blocks': [1, 1, 1, 1]},
    )
    first, second = (build_network(entry, 'untrained').state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="backbone is 'vgg', neither resnet nor darknet"):
        YolactConfig(backbone='vgg')
