# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The contract of a backend: sessions that run graphs, and the functions of a tracker on them.

A `Session` runs one graph of any kind, by named inputs and outputs. A `Runtime` is
what the tracker sees: the four functions of its model and the storage of its memories.

R is the side of the network input in pixels, G = R / 16, M = R / 4, B objects, S memory slots,
P pointer slots, K point tokens, C = `spec.dim`, N tokens of a memory. Arrays named "handle" belong
to the runtime (they may live on a device) and are only passed back to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.model_files import ModelSpec, TrackerSpec
from tam_ros.runtime.engine_options import EngineOptions

if TYPE_CHECKING:
    from tam_ros.catalogue import Model

Handle = Any
Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
"""Inputs or outputs of a graph by name."""


class EngineError(RuntimeError):
    """A device or its engines cannot be used; the message says why and what to do."""


class Session(Closing):
    """One graph, loaded and ready to run; used from one thread."""

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph.

        Args:
            inputs: all inputs of the graph by name, of the types and shapes of its `GraphSpec`.

        Returns:
            All outputs by name, in arrays that later runs do not change.
        """

    def close(self) -> None:
        """Release the device memory of the session; sessions on the host have none."""


class ModelSource(Protocol):
    """A model and its weights, from which a backend loads what it needs."""

    @property
    def entry(self) -> Model:
        """The model's entry in the catalogue."""

    @property
    def weights(self) -> Path | str:
        """A checkpoint, a folder of exported graphs, or `untrained`."""

    def graphs(self) -> Path:
        """Return a folder of exported graphs; exports the checkpoint first if necessary."""


@dataclass(frozen=True)
class LoadedGraphs(Closing):
    """A model of any kind, loaded into a backend.

    Attributes:
        spec: spec of the model.
        sessions: one for each graph, by name.
        info: facts about what runs, for users, by name: `device`, `precision` and more.
    """

    spec: ModelSpec
    sessions: Mapping[str, Session]
    info: Mapping[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Close every session."""
        for session in self.sessions.values():
            session.close()


class Backend(ABC):
    """A library that runs models; `tam_ros.runtime.backends` lists them."""

    def __init__(
        self, threads: int | None, precision: str, engine_options: EngineOptions | None = None
    ) -> None:
        """Keep the options; nothing is loaded yet.

        Args:
            threads: CPU threads; None leaves it to the library.
            precision: one of the backend's row in `BACKENDS`, or `auto`.
            engine_options: options of a backend that builds engines; the others ignore them.
        """
        self.threads = threads
        self.precision = precision
        self.engine_options = engine_options or EngineOptions()

    @abstractmethod
    def load(self, source: ModelSource) -> LoadedGraphs:
        """Load every graph of a model of any kind.

        Raises:
            WeightsError: the weights or graphs are missing or damaged.
            EngineError: the device, the library or an engine cannot be used.
        """

    @abstractmethod
    def open_tracker(self, source: ModelSource) -> Runtime:
        """Load a tracker.

        Raises:
            WeightsError: as `load`, and for other kinds of model.
            EngineError: as `load`.
        """


class Features(NamedTuple):
    """Handles of one encoded image.

    Attributes:
        raw: features, the input of the memory attention and the memory encoder.
        without_memory: features, the decoder's input for objects that have no memory.
        high_resolution: finer features for the decoder, of strides 8 and 4, or empty.
    """

    raw: Handle
    without_memory: Handle
    high_resolution: tuple[Handle, ...] = ()


class BankRows(NamedTuple):
    """The memories and pointers that the objects of a batch attend to, in the storage.

    The valid columns come first.

    Attributes:
        rows: int64 [B], the storage row of each object.
        memory_slots: int64 [B, S], slots of that row.
        temporal_index: int64 [B, S].
        memory_valid: float32 [B, S], 1 or 0.
        pointer_slots: int64 [B, P], slots of that row.
        pointer_valid: float32 [B, P], 1 or 0.
    """

    rows: NDArray[np.int64]
    memory_slots: NDArray[np.int64]
    temporal_index: NDArray[np.int64]
    memory_valid: Floats
    pointer_slots: NDArray[np.int64]
    pointer_valid: Floats

    def select(self, index: NDArray[np.intp]) -> BankRows:
        """Return the banks of some of the objects."""
        return BankRows(
            self.rows[index],
            self.memory_slots[index],
            self.temporal_index[index],
            self.memory_valid[index],
            self.pointer_slots[index],
            self.pointer_valid[index],
        )


class PromptTokens(NamedTuple):
    """Prompts of a batch of objects, the decoder's input.

    Attributes:
        points: float32 [B, K, 2], pixels (x, y) of the network input.
        labels: int64 [B, K]; 1 on the object, 0 off it, 2 and 3 corners of a box, -1 the padding
            token, -2 an unused place.
        mask: float32 [B, 1, M, M], logits.
        has_mask: float32 [B], 1 or 0.
    """

    points: Floats
    labels: NDArray[np.int64]
    mask: Floats
    has_mask: Floats


class Candidates(NamedTuple):
    """All masks the decoder proposes, on the host.

    Attributes:
        masks: logits [B, 4, M, M].
        ious: predicted IoU [B, 4].
        scores: object score logits [B, 1].
        pointers: object pointers [B, 4, C].
    """

    masks: Floats
    ious: Floats
    scores: Floats
    pointers: Floats


class DeviceMemory(NamedTuple):
    """Memory of the device that a runtime computes on, bytes.

    Attributes:
        used: memory used by this runtime: weights, engines, buffers, memories.
        free: memory available to any process.
        total: total memory of the device.
    """

    used: int
    free: int
    total: int


class Runtime(Closing):
    """A tracker's model, loaded into a backend; used from one thread.

    Attributes:
        name: name of the backend.
        spec: spec of the model.
        info: facts about what runs, for users, by name: `device`, `precision` and more. Shown in
            the diagnostics.
        float_images: whether `image_encoder` also takes float32 images, of numbers in 0..255.
            Image mode resizes an image to such numbers, as the official image predictor does.
    """

    name: str
    spec: TrackerSpec
    info: Mapping[str, str] = MappingProxyType({})
    float_images: bool = False

    @abstractmethod
    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        """Allocate the storage of memories and pointers, once.

        Args:
            rows: objects.
            memory_slots: memories of each object; may exceed S, since `BankRows` selects slots.
            pointer_slots: pointers of each object; may exceed P.
            images: encoded images that are referred to at the same time. A backend with memory of
                its own reserves room for them.
        """

    @abstractmethod
    def image_encoder(self, image: NDArray[np.uint8] | Floats) -> Features:
        """Encode an RGB image, uint8 [R, R, 3]; also float32 if `float_images`.

        The handles keep their values as long as they are referenced.
        """

    def memory_attention(self, features: Features, bank: BankRows) -> Handle:
        """Condition the features on the bank of each object; handle of [B, C, G, G].

        Pooled models attend exactly while an object has a single memory, as the official code
        does: such objects are run with the unpooled graph.
        """
        single = bank.memory_valid.sum(1) == 1
        if not self.spec.pooled or single.all() or not single.any():
            return self._attend(features, bank, self.spec.pooled and not single.any())
        groups = [np.flatnonzero(single), np.flatnonzero(~single)]
        parts = [
            self._attend(features, bank.select(index), pooled)
            for index, pooled in zip(groups, (False, True), strict=True)
        ]
        return self._merge(groups, parts)

    @abstractmethod
    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        """Run one memory-attention graph for a batch whose objects are all pooled or all not."""

    @abstractmethod
    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        """Join batches: object `groups[i][j]` of the result is object j of `parts[i]`."""

    @abstractmethod
    def select_object(self, conditioned: Handle, index: int) -> Handle:
        """Return the conditioned features [1, C, G, G] of one object of a batch."""

    @abstractmethod
    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        """Predict masks of B objects.

        Args:
            features: features of the frame.
            source: features of each object: conditioned [B, C, G, G], or one of `features`
                [1, C, G, G] for all of them.
            prompts: prompts of the objects.
        """

    @abstractmethod
    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        """Encode the memories of a frame; handle of [B, N, memory_dim].

        They are rounded to bfloat16, as the official predictor stores them.

        Args:
            features: features of the frame.
            masks: chosen mask logits [B, M, M].
            prompted: [B], 1 where the object was prompted on this frame.
        """

    @abstractmethod
    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        """Write the memories and pointers [B, C] of a frame into their slots."""

    @abstractmethod
    def read_row(self, row: int) -> tuple[Floats, Floats]:
        """Copy a row to the host: memories [slots, N, memory_dim], pointers [slots, C]."""

    @abstractmethod
    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        """Overwrite a row with arrays of the shapes that `read_row` returns."""

    def device_memory(self) -> DeviceMemory | None:
        """Return the device's memory; None where the model uses the host's."""
        return None

    def close(self) -> None:
        """Release the device memory of the runtime; runtimes on the host have none."""
