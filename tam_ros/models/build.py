# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of families; builds a network and its spec from a catalogue entry and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.model_files import MAX_WEIGHTS, UNTRAINED, ModelSpec, WeightsError, sha256
from tam_ros.models import clip, edgetam, efficienttam, yolact
from tam_ros.models.checkpoint_pickle import load_pickle
from tam_ros.models.family import Family
from tam_ros.models.torchscript_archive import is_torchscript, read_torchscript
from tam_ros.regular_file import UnsuitableFileError, open_regular

# To add a family, write its module and add a row here.
FAMILIES = {
    family.name: family
    for family in (efficienttam.FAMILY, edgetam.FAMILY, clip.FAMILY, yolact.FAMILY)
}
SHOWN = 4  # names that an error message lists


def family_of(entry: catalogue.Model) -> Family:
    """Return the family of a catalogue entry.

    Raises:
        WeightsError: there is no such family.
    """
    if entry.architecture not in FAMILIES:
        raise WeightsError(
            f'{entry.name} has the unknown architecture {entry.architecture!r}; known are '
            f'{", ".join(FAMILIES)}'
        )
    return FAMILIES[entry.architecture]


def build_network(entry: catalogue.Model, weights: Path | str) -> nn.Module:
    """Build the network of a catalogue entry and load its weights strictly.

    Args:
        entry: catalogue entry.
        weights: a checkpoint, or `'untrained'` for deterministic random numbers.

    Raises:
        WeightsError: the checkpoint is missing, damaged or belongs to another model.
    """
    family = family_of(entry)
    if isinstance(weights, str):
        return _network(family, entry.config).eval()
    state = family.official_state(read_checkpoint(weights))
    try:
        network = _network(family, {**family.config_from(state), **entry.config})
    except ValueError as error:
        raise WeightsError(f'weights {weights} do not belong to {entry.name}: {error}') from error
    _check_keys(entry.name, weights, network, state)
    network.load_state_dict(state)
    return network.eval()


def _network(family: Family, config: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family.network(family.config(**config))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint.

    It may be a `.safetensors` file, an `.npz` archive, what `torch.save` writes (the tensors or
    `{'model': tensors}`), or a TorchScript archive; nothing in any of them is executed.

    Raises:
        WeightsError: the file is missing, truncated, or not a checkpoint.
    """
    try:
        with open_regular(path, MAX_WEIGHTS) as file:
            if path.suffix == '.safetensors':
                state = load_file(path)
            elif path.suffix == '.npz':
                with np.load(file, allow_pickle=False) as arrays:
                    state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            elif is_torchscript(file):
                state = read_torchscript(file)
            else:
                state = load_pickle(file)
                state = state.get('model', state) if isinstance(state, dict) else state
    except FileNotFoundError as error:
        raise WeightsError(f'weights {path} do not exist') from error
    except WeightsError as error:
        raise WeightsError(f'weights {path} are not read: {error}') from error
    except UnsuitableFileError as error:
        raise WeightsError(f'the weights cannot be read: {error}') from error
    except Exception as error:  # a damaged file causes many kinds of error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(
            f'weights {path} cannot be read (truncated, or not a checkpoint?): {reason}'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise WeightsError(f'weights {path} contain no state_dict')
    state = {key: value.float() for key, value in state.items()}
    damaged = [key for key, value in state.items() if not value.isfinite().all()]
    if damaged:
        raise WeightsError(
            f'weights {path} are damaged: {damaged[0]!r} contains numbers that are not finite'
        )
    return state


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


def describe(entry: catalogue.Model, weights: Path | str, network: nn.Module) -> ModelSpec:
    """Return the spec of a network that `build_network` made of the same entry and weights."""
    if isinstance(weights, str):
        fingerprint = UNTRAINED
        origin = f'{UNTRAINED}: deterministic random numbers, the masks mean nothing'
    else:
        fingerprint = sha256(weights)
        origin = f'{weights.name}, sha256 {fingerprint[:12]}'
    return family_of(entry).describe(network, entry.name, origin, fingerprint)
