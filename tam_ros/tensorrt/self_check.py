# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Checks that engines, and whole backends, compute what their graphs define.

TensorRT 10.3, which JetPack 6 has, is known to compute some transformers wrongly in half precision
without an error. Every engine is therefore run on golden inputs before it is used, and its outputs
are compared with the reference outputs in `golden.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import (
    DECODER_OUTPUTS,
    SINGLE_MEMORY,
    TrackerSpec,
)
from tam_ros.runtime.base import (
    Arrays,
    BankRows,
    Candidates,
    LoadedGraphs,
    PromptTokens,
    Runtime,
)
from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.engine_runner import EngineSession
from tam_ros.tensorrt.golden import AFTER_ONE, MEMORIES, PROMPTED, TEMPORAL, Golden, draw_image

LEAST_COSINE = 0.99
"""The bundled model's graphs in half precision reach 0.99999, run by ONNX Runtime."""

LEAST_IOU = 0.95
MASKS = 'masks'
"""An output of this name contains mask logits; its masks are compared as well."""


class Agreement(NamedTuple):
    """How outputs compare with the reference.

    Attributes:
        cosine: the lowest cosine similarity of all outputs; NaN where an output is not finite.
        output: name of the output that has it.
        iou: lowest IoU of the masks, all candidates of an object together; None without masks.
    """

    cosine: float
    output: str
    iou: float | None

    @property
    def good(self) -> bool:
        """Whether the engine may be used; False where an output is not finite."""
        return bool(self.cosine >= LEAST_COSINE and (self.iou is None or self.iou >= LEAST_IOU))

    def __str__(self) -> str:
        masks = '' if self.iou is None else f', mask IoU {self.iou:.4f}'
        return f'cosine {self.cosine:.5f} ({self.output}){masks}'


def compare(references: Arrays, outputs: Arrays) -> Agreement:
    """Compare outputs with the reference, by name, each item of a batch separately.

    Args:
        references: outputs for a batch of one.
        outputs: outputs for a batch of one or more identical inputs.
    """
    worst, worst_name, iou = np.inf, '', None
    for name, reference in references.items():
        items = outputs[name].astype(np.float64).reshape(-1, *reference.shape)
        for item in items:
            cosine = _cosine(item, reference)
            if not cosine >= worst:  # True for NaN as well
                worst, worst_name = cosine, name
            if name == MASKS:
                this = _iou(item > 0, reference > 0)
                iou = this if iou is None else min(iou, this)
    return Agreement(float(worst), worst_name, iou)


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    one, other = one.ravel(), other.astype(np.float64).ravel()
    if not np.isfinite(one).all():
        return float('nan')
    scale = np.linalg.norm(one) * np.linalg.norm(other)
    # Zero agrees with zero only.
    return float(one @ other / scale) if scale else float(not one.any() and not other.any())


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


# --- checks ---


def check_engine(engine: Engine, device: Device, golden: Golden) -> Agreement:
    """Run an engine with a batch of one and with its largest batch, and compare.

    Args:
        engine: not prepared yet; closed by this.
        device: open in this thread.
        golden: golden run of its graph.
    """
    arena = Arena(device)
    try:
        engine.prepare(arena.block(engine.scratch_bytes).address)
        with EngineSession(arena, engine) as session:
            found = []
            for batch in sorted({1, engine.max_batch}):
                inputs = {
                    name: np.repeat(array, batch, axis=0)
                    if engine.tensors[name].batched
                    else array
                    for name, array in golden.inputs.items()
                }
                found.append(compare(golden.outputs, session.run(inputs)))
    finally:
        device.wait()
        engine.close()
        arena.close()
    return min(found, key=lambda one: (one.good, one.cosine))


def check_graphs(loaded: LoadedGraphs, golden: Mapping[str, Golden]) -> dict[str, Agreement]:
    """Compare the sessions of a model of any kind with the reference, by graph."""
    return {
        name: compare(golden[name].outputs, session.run(golden[name].inputs))
        for name, session in loaded.sessions.items()
    }


def check_runtime(runtime: Runtime, golden: Mapping[str, Golden]) -> dict[str, Agreement]:
    """Compare a tracker's runtime of any backend with the reference, through its own code.

    The functions are called as for an object that is prompted, stored in memory and segmented
    again. What they return to the host is compared.

    Args:
        runtime: nothing is allocated yet; it can only be closed afterwards.
        golden: references of the same graphs.

    Returns:
        By the functions that were tried, in order.
    """
    spec = runtime.spec
    runtime.allocate(1, MEMORIES, MEMORIES)
    found: dict[str, Agreement] = {}
    features = runtime.image_encoder(draw_image(spec.image_size))
    prompted = golden[PROMPTED]
    first = runtime.mask_decoder(features, features.without_memory, _tokens(prompted.inputs))
    found['image_encoder, mask_decoder'] = compare(prompted.outputs, _outputs(first))

    best = int(prompted.outputs['ious'][0].argmax())
    masks = prompted.outputs['masks'][:, best]
    memory = runtime.memory_encoder(features, masks, np.ones(1, np.float32))
    pointer = prompted.outputs['object_pointers'][:, best]
    for slot in range(MEMORIES):
        runtime.store([0], [slot], [slot], memory, pointer)
    found['memory_encoder'] = compare(
        golden['memory_encoder'].outputs, {'memory': runtime.read_row(0)[0][:1]}
    )

    no_prompt = _tokens(golden['mask_decoder'].inputs)
    for name, key, valid in (
        (SINGLE_MEMORY, AFTER_ONE, 1),
        ('memory_attention', 'mask_decoder', MEMORIES),
    ):
        if key in golden:
            conditioned = runtime.memory_attention(features, _bank_rows(spec, valid))
            decoded = runtime.mask_decoder(features, conditioned, no_prompt)
            found[f'{name}, mask_decoder'] = compare(golden[key].outputs, _outputs(decoded))
    return found


def _tokens(inputs: Arrays) -> PromptTokens:
    return PromptTokens(*(inputs[name] for name in PromptTokens._fields))


def _outputs(candidates: Candidates) -> Arrays:
    return dict(zip(DECODER_OUTPUTS, candidates, strict=True))


def _bank_rows(spec: TrackerSpec, valid: int) -> BankRows:
    columns = np.arange(spec.slots), np.arange(spec.pointer_slots)
    slots, pointers = (np.where(column < valid, column, 0)[None] for column in columns)
    temporal = np.zeros((1, spec.slots), np.int64)
    temporal[0, :valid] = TEMPORAL[:valid]
    memory_valid, pointer_valid = ((column < valid).astype(np.float32)[None] for column in columns)
    return BankRows(np.zeros(1, np.int64), slots, temporal, memory_valid, pointers, pointer_valid)
