# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A further family of trackers is one module, one row in `FAMILIES`, and a catalogue entry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.loading import find_weights
from tam_ros.model_files import WeightsError
from tam_ros.models import build
from tam_ros.models.config import ModelConfig
from tam_ros.models.family import Family
from tam_ros.models.network import TrackAnything
from tam_ros.models.tracker_family import HALF_PRECISION, describe, graph_modules
from tam_ros.tracking import Prompt, Tracker

NAME = 'third_64'
RUNS = [('torch', 'fp32'), ('onnxruntime', 'fp32'), ('onnxruntime', 'fp16')]


class PatchEncoder(nn.Module):
    """Image encoder of the family."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, kernel_size=16, stride=16)
        self.mix = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, R, R] to [B, dim, R / 16, R / 16]."""
        return self.mix(nn.functional.gelu(self.embed(image)))


class ThirdNetwork(TrackAnything):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, PatchEncoder(config.dim))


FAMILY = Family(
    name='third',
    config=ModelConfig,
    network=ThirdNetwork,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=HALF_PRECISION,
)


@pytest.fixture
def entry(monkeypatch, tmp_path):
    config = {
        'image_size': 64,
        'dim': 32,
        'memory_dim': 16,
        'memory_layers': 1,
        'memory_mlp_dim': 32,
        'decoder_heads': 2,
        'decoder_mlp_dim': 32,
    }
    entry = catalogue.Model(NAME, FAMILY.name, 'a third family', 'Apache-2.0', config)
    monkeypatch.setitem(build.FAMILIES, FAMILY.name, FAMILY)
    monkeypatch.setitem(catalogue.models(), NAME, entry)
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    return entry


@pytest.fixture
def weights(entry, tmp_path):
    """Return a checkpoint of random numbers that finds an object on every frame."""
    network = build.build_network(entry, 'untrained')
    with torch.no_grad():
        network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(4)
    torch.save({'model': network.state_dict()}, tmp_path / 'weights.pt')
    return tmp_path / 'weights.pt'


def test_it_needs_no_weights_in_the_catalogue(entry, capsys):
    assert main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(catalogue.models())
    assert lines[-1].endswith('give a checkpoint with --weights')
    for runtime in ('torch', 'onnxruntime', 'tensorrt'):
        with pytest.raises(WeightsError, match='third_64; give a checkpoint with --weights'):
            find_weights(entry, None, runtime)
    assert main(['weights', 'get', NAME]) == 2
    assert 'give a checkpoint with --weights' in capsys.readouterr().err


def test_it_tracks_in_every_backend_on_the_host(entry, weights):
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    logits = {}
    for runtime, precision in RUNS:
        with Tracker.open(entry.name, weights, runtime, precision=precision) as tracker:
            results = [
                tracker.step(image, t / 10, [Prompt.mask(1, images[0, ..., 0] > 127)][t:])
                for t, image in enumerate(images)
            ]
        logits[runtime, precision] = np.stack([result.objects[0].logits for result in results])
    reference = logits.pop(('torch', 'fp32'))
    assert reference.std(axis=(1, 2)).min() > 0
    for (runtime, precision), found in logits.items():
        limit = 1e-3 if precision == 'fp32' else 0.03
        assert np.abs(found - reference).max() <= limit * reference.std(), (runtime, precision)
