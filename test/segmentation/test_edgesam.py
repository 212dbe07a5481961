# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EdgeSAM: official checkpoints load, and all kinds of prompts give the official masks."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import otherkit
import pytest
import torch

from tam_ros import catalogue
from tam_ros.loading import open_graphs
from tam_ros.model_files import WeightsError
from tam_ros.models import build, edgesam
from tam_ros.segmentation import EverythingOptions, Segmenter
from tam_ros.segmentation.sam_model import SamModel, fitted_size, network_input
from tam_ros.tracking import PromptError, Tracker

SMALL = {
    'image_size': 128,
    'dim': 32,
    'decoder_heads': 2,
    'decoder_mlp_dim': 32,
    'trunk_dims': [8, 8, 16, 16],
    'trunk_depths': [1, 1, 3, 1],
}
RUNS = (('onnxruntime', 'fp32'), ('onnxruntime', 'fp16'), ('openvino', 'fp32'))
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


# --- the official model ---


def official_state() -> dict[str, torch.Tensor]:
    """Return an official checkpoint with the weights of the kit."""
    path = otherkit.KIT / 'edgesam' / 'state_dict_shapes.json'
    if not path.is_file():
        pytest.skip(f'{path} is not on this machine')
    shapes = json.loads(path.read_text())['state_dict']
    state = {key: torch.from_numpy(otherkit.weight(key, shape)) for key, shape in shapes.items()}
    frequencies = 'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'
    state[frequencies] *= shapes[frequencies][1] ** 0.5  # these are not scaled
    return state


@pytest.fixture(scope='module')
def kit():
    return otherkit.arrays('edgesam/open')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'edge_sam_3x.pth'
    torch.save(official_state(), path)
    return path


def test_official_names_are_those_of_the_network():
    state = official_state()
    with torch.device('meta'):
        network = edgesam.EdgeSAM(edgesam.EdgeSAMConfig())
    assert sum(one.numel() for one in network.parameters()) == 9582112
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    named = edgesam.official_state(state)
    assert {name: tuple(value.shape) for name, value in named.items()} == expected
    assert edgesam.official_state(named).keys() == expected.keys()
    # What does not belong to the model is not made to fit.
    others = ('image_encoder.features.x.weight', 'mask_decoder.obj_score_token.weight')
    odd = edgesam.official_state({**state, **dict.fromkeys(others, torch.zeros(1))})
    assert odd.keys() - expected.keys() == set(others)


@pytest.fixture(
    scope='module',
    params=[
        'torch',
        pytest.param('onnxruntime', marks=pytest.mark.slow),
        pytest.param('openvino', marks=pytest.mark.slow),
    ],
)
def official(request, kit, checkpoint, tmp_path_factory):
    """Return a segmenter with the kit's weights and image."""
    if find_spec(request.param) is None:
        pytest.skip(f'{request.param} is not installed')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TAM_ROS_CACHE', str(tmp_path_factory.mktemp('cache')))
        with Segmenter.open('edgesam', checkpoint, request.param, precision='fp32') as segmenter:
            segmenter.set_image(kit['image'])
            yield segmenter


def close(found, expected, limit=1e-3):
    """Assert that arrays differ by at most a share of the standard deviation."""
    difference = np.abs(found - expected).max()
    assert difference <= limit * np.std(expected), difference


def test_the_embedding(official, kit):
    close(official.embedding.handle[0, ::16, ::8, ::8], kit['emb_sample'])


@pytest.mark.parametrize('name', ['point1', 'points2', 'box', 'boxpt'])
def test_every_kind_of_prompt(official, kit, name):
    points, labels, box = kit['points'], kit['labels'], kit['box']
    found = official.predict(
        **{
            'point1': {'points': points[:1], 'labels': labels[:1]},
            'points2': {'points': points, 'labels': labels},
            'box': {'box': box},
            'boxpt': {'points': points[1:], 'labels': labels[1:], 'box': box},
        }[name],
        candidates=len(kit[f'{name}_iou']),
    )
    close(found.low_resolution[:, ::8, ::8], kit[f'{name}_low_sample'])
    np.testing.assert_allclose(found.predicted_iou, kit[f'{name}_iou'], atol=1e-3)
    np.testing.assert_allclose(found.quality, kit[f'{name}_stability'], atol=1e-3)
    areas = kit[f'{name}_area']
    np.testing.assert_allclose(found.masks.sum((1, 2)), areas, atol=30)
    for logits, expected in zip(found.low_resolution, kit[f'{name}_full_sample'], strict=True):
        enlarged = official.network.enlarge(logits, kit['image'].shape[:2])
        close(enlarged[::20, ::20], expected)


def test_a_mask_fed_back(official, kit):
    points, labels = kit['points'], kit['labels']
    first = official.predict(points[:1], labels[:1], candidates=4)
    found = official.predict(points, labels, mask=first.low_resolution[0], candidates=1)
    close(found.low_resolution[:, ::8, ::8], kit['refine_low_sample'])
    np.testing.assert_allclose(found.predicted_iou, kit['refine_iou'], atol=1e-3)


# --- a small one, in every runtime ---


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Return an entry of the catalogue for a small network."""
    entry = catalogue.Model('small', 'edgesam', '', 'Apache-2.0', dict(SMALL), kind='segmenter')
    monkeypatch.setitem(catalogue.models(), 'small', entry)
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    return entry


def low_resolution(runtime, precision='fp32'):
    with Segmenter.open('small', 'untrained', runtime, precision=precision) as segmenter:
        segmenter.set_image(IMAGE)
        first = segmenter.predict([(30, 20), (80, 40)], [1, 0], candidates=4).low_resolution
        boxed = segmenter.predict(box=(10, 5, 60, 50), mask=first[1], candidates=1)
        shape = np.zeros((60, 100), bool)
        shape[10:40, 20:70] = True
        refined = segmenter.predict(mask=shape, candidates=4).low_resolution
        return np.concatenate((first, boxed.low_resolution, refined))


def test_every_runtime_gives_the_same_masks(small):
    expected = low_resolution('torch')
    for runtime, precision in RUNS:
        if find_spec(runtime) is None:
            continue
        limit = 1e-3 if precision == 'fp32' else 0.05
        close(low_resolution(runtime, precision), expected, limit)


def test_upsampling_is_a_switch(small):
    bicubic = low_resolution('torch')
    small.config['upsampling'] = 'bilinear'
    assert np.abs(low_resolution('torch') - bicubic).max() > 1e-3 * bicubic.std()
    small.config['upsampling'] = 'nearest'
    with pytest.raises(ValueError, match="upsampling is 'nearest'"):
        low_resolution('torch')


def test_fused_networks_compute_the_same():
    torch.manual_seed(0)
    network = edgesam.EdgeSAM(edgesam.EdgeSAMConfig(**SMALL)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        expected = network.image_encoder(image)
        edgesam.FAMILY.fuse(network)
        found = network.image_encoder(image)
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in network.modules())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_everything_and_single_masks(small, tmp_path):
    network = build.build_network(small, 'untrained')
    with torch.no_grad():  # masks that are clear, as those of a trained network are
        for head in network.mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.mul_(100)
    torch.save(network.state_dict(), tmp_path / 'clear.pt')
    options = EverythingOptions(
        points_per_side=4, min_predicted_iou=0, min_stability=0, max_box_iou=1
    )
    with Segmenter.open('small', tmp_path / 'clear.pt', 'torch') as segmenter:
        segmenter.set_image(IMAGE)
        found = segmenter.everything(options)
        ranks = [one.predicted_iou for one in found]
        assert len(found) > 4 and ranks == sorted(ranks, reverse=True)
        assert 0 < min(ranks) < max(ranks) <= 1
        assert all(one.mask.shape == (60, 100) for one in found)
        three = segmenter.predict([(30, 20)])
        assert three.best == three.quality.argmax()
        assert not np.array_equal(three.quality, three.predicted_iou)
        with pytest.raises(PromptError, match='the limit is 15'):
            segmenter.predict([(30, 20)] * 16)


def test_graphs_of_another_kind_are_refused(small):
    class Other:
        kind, name = 'detector', 'other'

    class Graphs:
        spec, is_closed = Other, False

        def close(self):
            self.is_closed = True

    graphs = Graphs()
    with pytest.raises(WeightsError, match='other is a detector, not a segmenter'):
        SamModel(graphs, 'torch')
    assert graphs.is_closed
    with pytest.raises(WeightsError, match='edgesam is a segmenter, not a tracker'):
        Tracker.open('edgesam', 'untrained')
    with open_graphs('small', 'untrained', 'torch') as opened:
        assert opened.spec.graph_names == ('image_encoder', 'mask_decoder')


# --- images ---


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        ((360, 480), (768, 1024)),
        ((500, 300), (1024, 614)),
        ((1, 5000), (1, 1024)),
        ((1024, 1024), (1024, 1024)),
    ],
)
def test_the_longest_side_is_fitted(size, expected):
    assert fitted_size(size, 1024) == expected


def test_network_input_is_normalised_and_padded():
    image = np.full((30, 60, 3), (124, 116, 104), np.uint8)
    pixels = network_input(image, 64)
    assert pixels.shape == (1, 3, 64, 64)
    assert not pixels[:, :, 32:].any()
    np.testing.assert_allclose(
        pixels[0, :, 5, 5], np.divide((0.325, -0.28, 0.47), (58.395, 57.12, 57.375)), atol=1e-5
    )


def test_a_mask_becomes_logits_and_returns(small):
    mask = np.zeros((60, 100), bool)
    mask[12:36, 20:70] = True
    with Segmenter.open('small', 'untrained', 'torch') as segmenter:
        logits = segmenter.network.shrink(mask)
        assert logits.shape == (32, 32) and abs(logits).max() == 10
        assert (logits[20:] == -10).all()  # the padding
        again = segmenter.network.enlarge(logits, (60, 100)) > 0
    assert (again & mask).sum() / (again | mask).sum() > 0.9
