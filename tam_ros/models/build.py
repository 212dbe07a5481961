# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From a catalogue entry and a checkpoint to a network."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.models.config import EdgeTAMConfig, EfficientTAMConfig
from tam_ros.models.edgetam import EdgeTAM
from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.network import TrackAnything
from tam_ros.runtime.base import ModelSpec, WeightsError
from tam_ros.runtime.graphs import sha256

ARCHITECTURES = {
    'efficienttam': (EfficientTAM, EfficientTAMConfig),
    'edgetam': (EdgeTAM, EdgeTAMConfig),
}
SLOTS = 7  # memories: one prompted and six recent ones fill them
POINTER_SLOTS = 16
POINT_TOKENS = 16  # a box and 13 clicks, or 15 clicks, and SAM's padding token
SHOWN = 4  # how many names an error lists


def build_network(entry: catalogue.Model, weights: Path | str) -> TrackAnything:
    """Build the network of a catalogue entry and load its weights strictly.

    Args:
        entry: of the catalogue.
        weights: a checkpoint, or `'untrained'` for deterministic random numbers.

    Raises:
        WeightsError: the checkpoint is missing, damaged or belongs to another model.
    """
    network_class, config_class = ARCHITECTURES[entry.architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = network_class(config_class(**entry.config))
    if isinstance(weights, str):
        return network.eval()
    state = read_checkpoint(weights)
    _check_keys(entry.name, weights, network, state)
    network.load_state_dict(state)
    return network.eval()


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: `.safetensors`, or `torch.load(...)['model']`.

    Raises:
        WeightsError: the file is missing, truncated or something else.
    """
    try:
        if path.suffix == '.safetensors':
            state = load_file(path)
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)
            state = state.get('model', state) if isinstance(state, dict) else state
    except FileNotFoundError as error:
        raise WeightsError(f'weights {path} do not exist') from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
        IsADirectoryError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f'weights {path} cannot be read (truncated or no checkpoint?): {reason}'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise WeightsError(f'weights {path} hold no state_dict')
    return {key: value.float() for key, value in state.items()}


def _check_keys(name: str, path: Path, network: nn.Module, state: dict[str, Tensor]) -> None:
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    problems = []
    for what, keys in (
        ('missing', [key for key in expected if key not in given]),
        ('unknown', [key for key in given if key not in expected]),
        (
            'of another shape',
            [
                f'{key} {given[key]} instead of {expected[key]}'
                for key in expected
                if key in given and given[key] != expected[key]
            ],
        ),
    ):
        if keys:
            more = f' and {len(keys) - SHOWN} more' if len(keys) > SHOWN else ''
            problems.append(f'{what}: {", ".join(keys[:SHOWN])}{more}')
    if problems:
        raise WeightsError(f'weights {path} do not belong to {name}; {"; ".join(problems)}')


def describe(entry: catalogue.Model, weights: Path | str, network: TrackAnything) -> ModelSpec:
    """Collect what a tracker must know of a network."""
    config = network.config
    downsample = network.mask_downsample
    if isinstance(weights, str):
        fingerprint = 'untrained'
        origin = 'untrained: deterministic random numbers, the masks mean nothing'
    else:
        fingerprint = sha256(weights)
        origin = f'{weights.name}, sha256 {fingerprint[:12]}'
    return ModelSpec(
        name=entry.name,
        weights=origin,
        fingerprint=fingerprint,
        image_size=config.image_size,
        dim=config.dim,
        memory_tokens=config.memory_tokens,
        memory_dim=config.memory_dim,
        slots=SLOTS,
        pointer_slots=POINTER_SLOTS,
        point_tokens=POINT_TOKENS,
        pooled=config.pooled,
        dense_prompt_prior=config.dense_prompt_prior,
        mask_downsample_weight=tuple(downsample.weight.detach().flatten().tolist()),
        mask_downsample_bias=downsample.bias.item(),
    )
