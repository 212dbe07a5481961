# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""PyTorch: the reference that the other backends are compared with; for development."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tam_ros.model_files import GraphSpec
from tam_ros.models.build import build_network, describe, family_of
from tam_ros.runtime.base import Arrays, Backend, LoadedGraphs, ModelSource, Runtime, Session
from tam_ros.runtime.host import HostRuntime


class TorchSession(Session):
    """The module of one graph."""

    def __init__(self, module: nn.Module, graph: GraphSpec, device: torch.device) -> None:
        """Wrap a module.

        Args:
            module: on the device; takes the inputs of the graph in their order.
            graph: specifies the inputs and outputs.
            device: the device of the module.
        """
        self._module = module
        self._graph = graph
        self._device = device

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph."""
        tensors = (
            torch.from_numpy(np.array(inputs[tensor.name])).to(self._device)
            for tensor in self._graph.inputs
        )
        results = self._module(*tensors)
        results = results if isinstance(results, tuple) else (results,)
        return {
            tensor.name: result.cpu().numpy()
            for tensor, result in zip(self._graph.outputs, results, strict=True)
        }


class TorchBackend(Backend):
    """Calls the functions of the network itself, in float32.

    The memory attention gets only the filled slots, as in the official code while a bank fills.
    """

    def load(self, source: ModelSource) -> LoadedGraphs:
        """Build the network. The number of threads is PyTorch's, and so for the whole process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        device = torch.device('cpu')
        network = build_network(source.entry, source.weights).to(device)
        spec = describe(source.entry, source.weights, network)
        modules = family_of(source.entry).graph_modules(network, spec)
        sessions = {
            graph.name: TorchSession(modules[graph.name], graph, device) for graph in spec.graphs
        }
        return LoadedGraphs(spec, sessions, {'device': str(device), 'precision': 'float32'})

    def open_tracker(self, source: ModelSource) -> Runtime:
        """Load a tracker."""
        return HostRuntime('torch', self.load(source), any_slots=True, float_images=True)
