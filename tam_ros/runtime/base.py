# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a runtime offers: the four functions of a model and the storage of its memories.

R is the side of the network input in pixels, G = R / 16, M = R / 4, B objects, S memory slots,
P pointer slots, K point tokens, C = `spec.dim`. Arrays named "handle" belong to the runtime
(they may live on a device) and are only passed back to it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Handle = Any
Floats = NDArray[np.float32]

# Labels of point tokens, see tam_ros.models.prompt_encoder (torch, hence not imported here).
PADDING, ABSENT = -1, -2


class WeightsError(RuntimeError):
    """Weights or graphs that cannot be used; the message says why and what to do."""


class EngineError(RuntimeError):
    """A device or its engines cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class ModelSpec:
    """What the tracker must know of a model; travels with the exported graphs as JSON.

    Attributes:
        name: catalogue name.
        weights: what the weights are, for people; starts with `untrained` if they are.
        fingerprint: SHA-256 of the checkpoint, or `untrained`.
        image_size: R.
        dim: C.
        memory_tokens: tokens of one memory.
        memory_dim: channels of one memory token.
        slots: S.
        pointer_slots: P.
        point_tokens: K, with the padding token SAM appends.
        pooled: the cross-attention pools its keys from the second memory on.
        dense_prompt_prior: clicks and boxes are also drawn into the mask prompt.
        mask_downsample_weight: 16 numbers of the 4x4 convolution for mask prompts, row-major.
        mask_downsample_bias: its bias.
    """

    name: str
    weights: str
    fingerprint: str
    image_size: int
    dim: int
    memory_tokens: int
    memory_dim: int
    slots: int
    pointer_slots: int
    point_tokens: int
    pooled: bool
    dense_prompt_prior: bool
    mask_downsample_weight: tuple[float, ...]
    mask_downsample_bias: float

    @property
    def mask_size(self) -> int:
        """M, the side of low-resolution masks."""
        return self.image_size // 4

    def to_json(self) -> str:
        """Serialise."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read what `to_json` wrote; raises WeightsError where it is something else."""
        try:
            values = json.loads(text)
            values['mask_downsample_weight'] = tuple(values['mask_downsample_weight'])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise WeightsError(
                f'the description of the graphs cannot be read ({error}); export them again'
            ) from error


class Features(NamedTuple):
    """Handles of one encoded image.

    Attributes:
        raw: features as the memory attention and the memory encoder want them.
        without_memory: the same as the decoder wants them where an object has no memory.
        high_resolution: finer features for the decoder, of strides 8 and 4, or nothing.
    """

    raw: Handle
    without_memory: Handle
    high_resolution: tuple[Handle, ...] = ()


class BankRows(NamedTuple):
    """What the objects of a batch look at: rows and slots of the storage.

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
        return BankRows(*(column[index] for column in self))


class PromptTokens(NamedTuple):
    """Prompts of a batch of objects as the decoder wants them.

    Attributes:
        points: float32 [B, K, 2], pixels (x, y) of the network input.
        labels: int64 [B, K]; -1 the padding token, -2 nothing.
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
        used: by this runtime: weights, engines, buffers, memories.
        free: what anybody may still take.
        total: of the device.
    """

    used: int
    free: int
    total: int


class Runtime(ABC):
    """One backend with one model loaded; used from one thread.

    Attributes:
        name: of the backend.
        spec: of the model.
        facts: what else a person should know of what runs, by name: the device, the precision, the
            engine. Shown in diagnostics.
    """

    name: str
    spec: ModelSpec
    facts: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        """Allocate the storage, once: so many memories and pointers for each of `rows` objects.

        It may hold more slots than S and P; `BankRows` says which of them are looked at.
        `images` is how many encoded images will be referred to at once; a backend whose memory
        is its own reserves room for them.
        """

    @abstractmethod
    def image_encoder(self, image: NDArray[np.uint8]) -> Features:
        """Encode an RGB image, uint8 [R, R, 3].

        The handles keep their values for as long as they are referred to.
        """

    def memory_attention(self, features: Features, bank: BankRows) -> Handle:
        """Condition the features on the bank of each object; handle of [B, C, G, G].

        Pooled models attend exactly while an object has a single memory, as the official code
        does: such objects go through the unpooled graph.
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
        """Run one memory-attention graph for a batch that agrees on `pooled`."""

    @abstractmethod
    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        """Put the objects of several batches back in order."""

    @abstractmethod
    def take(self, conditioned: Handle, index: int) -> Handle:
        """Return the conditioned features [1, C, G, G] of one object of a batch."""

    @abstractmethod
    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        """Predict masks of B objects.

        Args:
            features: of the frame.
            source: what each object makes of them: conditioned [B, C, G, G], or one of
                `features` [1, C, G, G].
            prompts: of the objects.
        """

    @abstractmethod
    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        """Encode the memories of a frame; handle of [B, N, memory_dim].

        They are rounded to bfloat16, as the official predictor keeps them.

        Args:
            features: of the frame.
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
        """Overwrite a row with what `read_row` returned."""

    def memory(self) -> DeviceMemory | None:
        """Return the device's memory; None where it is the host's, which needs no asking."""
        return None

    def close(self) -> None:  # noqa: B027 - most backends have nothing to give back
        """Give back what the runtime holds on a device."""
