# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of families; builds a network and its spec from a catalogue entry and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.model_files import UNTRAINED, ModelSpec, WeightsError, sha256
from tam_ros.models import clip, edgesam, edgetam, efficienttam, yolact
from tam_ros.models.checkpoint import read_checkpoint
from tam_ros.models.family import Family
from tam_ros.reading import failing_as

# To add a family, write its module and add a row here.
FAMILIES = {
    family.name: family
    for family in (
        efficienttam.FAMILY,
        edgetam.FAMILY,
        clip.FAMILY,
        yolact.FAMILY,
        edgesam.FAMILY,
    )
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
    tensors = read_checkpoint(weights)
    with failing_as(WeightsError, f'weights {weights} do not belong to {entry.name}'):
        state = family.official_state(tensors)
        network = _network(family, {**family.config_from(state), **entry.config})
        _check_keys(entry.name, weights, network, state)
    network.load_state_dict(state)
    return network.eval()


def _network(family: Family, config: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family.network(family.config(**config))


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
