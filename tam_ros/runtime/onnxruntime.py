"""ONNX Runtime on the CPU; everything lives in numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tam_ros.runtime.base import (
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    ModelSpec,
    PromptTokens,
    Runtime,
    WeightsError,
)
from tam_ros.runtime.graphs import (
    DESCRIPTION,
    HIGH_RESOLUTION,
    SINGLE_MEMORY,
    graph_file,
    graph_names,
)


class OnnxRuntime(Runtime):
    """Runs a folder of exported graphs."""

    name = 'onnxruntime'

    def __init__(self, folder: Path, threads: int | None = None,
                 precision: str = 'fp32') -> None:
        """Load the graphs.

        Args:
            folder: see ``tam_ros.runtime.graphs``.
            threads: CPU threads; None for one per core.
            precision: ``fp16`` runs the graphs that are made for GPUs: slower here, and right, to
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
        self._sessions = {name: self._load(graph_file(folder, name, precision), options)
                          for name in graph_names(self.spec)}
        self._dtype = np.float16 if precision == 'fp16' else np.float32
        self.facts = {'device': 'cpu', 'precision': np.dtype(self._dtype).name}

    @staticmethod
    def _load(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(
                str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # the library's own classes share no narrower base
            raise WeightsError(f'the graph {path} cannot be loaded: {error}') from error

    def _run(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        return self._sessions[graph].run(None, inputs)

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        spec = self.spec
        self._memories = np.zeros(
            (rows, memory_slots, spec.memory_tokens, spec.memory_dim), self._dtype)
        self._pointers = np.zeros((rows, pointer_slots, spec.dim), np.float32)

    def image_encoder(self, image: NDArray[np.uint8]) -> Features:
        raw, without_memory, *high_resolution = self._run('image_encoder', image=image[None])
        return Features(raw, without_memory, tuple(high_resolution))

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        graph, columns = 'memory_attention', self.spec.slots
        if self.spec.pooled and not pooled:
            graph, columns = SINGLE_MEMORY, 1
        rows = bank.rows[:, None]
        return self._run(
            graph, features=features.raw,
            memories=self._memories[rows, bank.memory_slots[:, :columns]],
            temporal_index=bank.temporal_index[:, :columns],
            memory_valid=bank.memory_valid[:, :columns],
            pointers=self._pointers[rows, bank.pointer_slots],
            pointer_valid=bank.pointer_valid)[0]

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        merged = np.empty((sum(map(len, groups)), *parts[0].shape[1:]), self._dtype)
        for index, part in zip(groups, parts, strict=True):
            merged[index] = part
        return merged

    def take(self, conditioned: Handle, index: int) -> Handle:
        return conditioned[index:index + 1]

    def mask_decoder(self, features: Features, source: Handle,
                     prompts: PromptTokens) -> Candidates:
        finer = dict(zip(HIGH_RESOLUTION, features.high_resolution, strict=False))
        return Candidates(*self._run(
            'mask_decoder', features=source, **prompts._asdict(), **finer))

    def memory_encoder(self, features: Features, masks: Floats,
                       prompted: Floats) -> Handle:
        return self._run('memory_encoder', features=features.raw, masks=masks[:, None],
                         prompted=prompted)[0]

    def store(self, rows: list[int], memory_slots: list[int],
              pointer_slots: list[int], memories: Handle, pointers: Floats) -> None:
        self._memories[rows, memory_slots] = memories
        self._pointers[rows, pointer_slots] = pointers

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        return self._memories[row].astype(np.float32), self._pointers[row].copy()

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        self._memories[row] = memories
        self._pointers[row] = pointers
