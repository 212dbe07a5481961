# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a family of networks is: one record, which building, exporting and running read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from tam_ros.model_files import ModelSpec


@dataclass(frozen=True)
class HalfPrecision:
    """Which parts of a network may compute in half precision; see `tam_ros.export.half_precision`.

    Attributes:
        halves: names of modules that do, but for the exceptions below.
        islands: classes of modules inside those that compute in single precision and give their
            results back in half precision.
        heads: name prefixes of modules of linear layers that compute in single precision and whose
            results stay so.
    """

    halves: tuple[str, ...]
    islands: tuple[type[nn.Module], ...]
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        name: the `architecture` of catalogue entries.
        config: makes the configuration of a network of the numbers of a catalogue entry.
        network: makes a network, with random weights, of a configuration.
        describe: makes the spec of a network, given catalogue name, what the weights are, and
            their fingerprint.
        graph_modules: gives for each graph of a spec the module that computes it, which takes the
            graph's inputs in their order.
        half_precision: see there.
        fuse: replaces parts of a trained network, in place, by quicker ones that compute the same.
    """

    name: str
    config: Callable[..., Any]
    network: Callable[[Any], nn.Module]
    describe: Callable[[Any, str, str, str], ModelSpec]
    graph_modules: Callable[[Any, Any], dict[str, nn.Module]]
    half_precision: HalfPrecision
    fuse: Callable[[nn.Module], None] = lambda network: None
