# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The record that describes a family of networks to building, exporting and running."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tam_ros.model_files import ModelSpec


@dataclass(frozen=True)
class HalfPrecision:
    """Which parts of a network may compute in half precision; see `tam_ros.export.half_precision`.

    Attributes:
        halves: names of modules of the network that do, with the exceptions below.
        islands: classes of modules inside those that compute in single precision and return their
            results in half precision.
        heads: name prefixes of modules that compute in single precision and return their results
            in it.
    """

    halves: tuple[str, ...]
    islands: tuple[type[nn.Module], ...]
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: the `architecture` of catalogue entries.
        config: called with the `config` of a catalogue entry as keyword arguments; returns the
            configuration of a network.
        network: called with a configuration; returns the network with random weights.
        describe: called with a network, the catalogue name, the description of the weights and
            their fingerprint; returns the spec.
        graph_modules: called with a network and its spec; returns, by name of the graph, the
            module that computes it. The module takes the graph's inputs in their order.
        half_precision: parts that compute in half precision in fp16 graphs.
        fuse: called with a trained network before it is exported; replaces parts, in place, by
            faster ones with the same results.
        official_state: called with the tensors of a checkpoint; returns them by the names of the
            network. Differs from the identity where a model is published in several forms.
        config_from: called with the result of that; returns the values of the configuration that
            follow from the shapes. Those of a catalogue entry have precedence.
    """

    name: str
    config: Callable[..., Any]
    network: Callable[[Any], nn.Module]
    describe: Callable[[Any, str, str, str], ModelSpec]
    graph_modules: Callable[[Any, Any], dict[str, nn.Module]]
    half_precision: HalfPrecision
    fuse: Callable[[nn.Module], None] = lambda network: None
    official_state: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state
    config_from: Callable[[dict[str, Tensor]], dict[str, Any]] = lambda state: {}
