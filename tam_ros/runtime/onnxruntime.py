# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from tam_ros.runtime.base import ModelSpec, WeightsError
from tam_ros.runtime.graphs import DESCRIPTION, PRECISIONS, graph_file, graph_names
from tam_ros.runtime.host import HostRuntime


@lru_cache(maxsize=1)
def share_memory() -> None:
    """Give the sessions of this process one pool of memory instead of one each.

    Measured with the bundled model and 11 objects: 353 MB instead of 492, in the same time.
    """
    memory = ort.OrtMemoryInfo(
        'Cpu', ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


class OnnxRuntime(HostRuntime):
    """Runs a folder of exported graphs."""

    name = 'onnxruntime'

    def __init__(self, folder: Path, threads: int | None = None, precision: str = 'fp32') -> None:
        """Load the graphs.

        Args:
            folder: see `tam_ros.runtime.graphs`.
            threads: CPU threads; None for one per core.
            precision: `fp16` runs the graphs that are made for GPUs: slower here, and right, to
                see what half precision does to masks.

        Raises:
            WeightsError: a graph is missing or damaged.
            ValueError: no such precision.
        """
        self.spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding='utf-8'))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        # Idle threads sleep: a robot's other processes want the cores between frames.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        # The graphs run one after another: they can work in the same memory.
        share_memory()
        options.add_session_config_entry('session.use_env_allocators', '1')
        self._sessions = {
            name: self._load(graph_file(folder, name, precision), options)
            for name in graph_names(self.spec)
        }
        self.facts = {'device': 'cpu', 'precision': PRECISIONS[precision]}

    @staticmethod
    def _load(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # the library's own classes share no narrower base
            raise WeightsError(f'the graph {path} cannot be loaded: {error}') from error

    def _run(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        return self._sessions[graph].run(None, inputs)
