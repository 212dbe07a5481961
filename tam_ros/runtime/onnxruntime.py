# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Read when the library is imported. Without it, it sends reports, and warns if there is no home
# directory in which to keep an identifier.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tam_ros.graph_files import read_graph
from tam_ros.model_files import (
    GRAPH_PRECISIONS,
    WeightsError,
    file_name,
    read_spec,
)
from tam_ros.onnx_file import with_float_input
from tam_ros.reading import reason
from tam_ros.runtime.backends import choose_precision
from tam_ros.runtime.base import Arrays, LoadedGraphs, ModelSource, Session
from tam_ros.runtime.host import HostBackend, float_input


@lru_cache(maxsize=1)
def share_memory() -> None:
    """Let the sessions of this process share one pool of memory.

    Measured with the bundled model and 11 objects: 353 MB instead of 492, in the same time.
    """
    memory = ort.OrtMemoryInfo(
        'Cpu', ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def session_options(threads: int | None) -> ort.SessionOptions:
    """Return the options of a session.

    Args:
        threads: CPU threads; None for one per core.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Idle threads sleep, so that a robot's other processes can use the cores between frames.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    # The graphs run one after another and can share their working memory.
    share_memory()
    options.add_session_config_entry('session.use_env_allocators', '1')
    return options


class OnnxRuntimeSession(Session):
    """One graph in ONNX Runtime."""

    def __init__(
        self,
        model: bytes,
        name: str,
        threads: int | None = None,
        *,
        shared_memory: bool = True,
        float_input: str | None = None,
    ) -> None:
        """Load a graph.

        Args:
            model: content of the ONNX file, which was checked.
            name: of the graph, for messages.
            threads: CPU threads; None for one per core.
            shared_memory: work in the pool of memory that the process keeps; otherwise in memory
                that is released with the session.
            float_input: an input of the type uint8 that takes float32 as well, for numbers in
                between; None: none. The graph must begin by converting it.

        Raises:
            WeightsError: the file is damaged.
        """
        self._float_input = float_input
        try:
            if float_input is not None:
                model = with_float_input(model, float_input)
            self._session = ort.InferenceSession(
                model, session_options(threads), providers=['CPUExecutionProvider']
            )
        except Exception as error:  # the library's exceptions have no narrower common base
            raise WeightsError(f'the graph {name} cannot be loaded: {reason(error)}') from error
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph."""
        given = dict(inputs)
        if self._float_input is not None:
            given[self._float_input] = np.asarray(given[self._float_input], np.float32)
        return dict(zip(self._outputs, self._session.run(self._outputs, given), strict=True))


class OnnxRuntimeBackend(HostBackend):
    """Runs a folder of exported graphs.

    The precision `fp16` runs the graphs that are made for GPUs. They are slower on a CPU, but show
    what half precision does to the masks.
    """

    name = 'onnxruntime'
    float_images = True

    def load(self, source: ModelSource) -> LoadedGraphs:
        """Load all graphs of a model."""
        folder = source.graphs()
        spec = read_spec(folder)
        precision = choose_precision(self.name, self.precision)
        sessions = {
            name: OnnxRuntimeSession(
                read_graph(folder, name, precision),
                str(folder / file_name(name, precision)),
                self.threads,
                float_input=float_input(spec, name),
            )
            for name in spec.graph_names
        }
        info = {'device': 'cpu', 'precision': GRAPH_PRECISIONS[precision]}
        return LoadedGraphs(spec, sessions, info)
