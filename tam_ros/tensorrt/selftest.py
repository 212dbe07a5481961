# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Does a runtime, whichever it is, compute what the graphs say?

The functions of the runtime are called as for an object that is prompted, remembered and found
again, and what comes to the host is compared with the reference outputs. `selfcheck` looks at
single TensorRT engines; this is for all backends, and through their own code.
"""

from __future__ import annotations

import numpy as np

from tam_ros.model_files import SINGLE_MEMORY
from tam_ros.runtime.base import BankRows, Candidates, PromptTokens, Runtime
from tam_ros.tensorrt.golden import (
    AFTER_ONE,
    MEMORIES,
    PROMPTED,
    TEMPORAL,
    Arrays,
    Golden,
    picture,
)
from tam_ros.tensorrt.self_check import Agreement, compare


def selftest(runtime: Runtime, golden: dict[str, Golden]) -> dict[str, Agreement]:
    """Compare a runtime with the reference; its storage is allocated by this.

    Args:
        runtime: of the model whose graphs gave the reference, and of no other use afterwards.
        golden: of `golden.references`.

    Returns:
        By what was tried, in order.
    """
    spec = runtime.spec
    runtime.allocate(1, MEMORIES, MEMORIES)
    found: dict[str, Agreement] = {}
    features = runtime.image_encoder(picture(spec.image_size))
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

    nothing = _tokens(golden['mask_decoder'].inputs)
    for name, key, valid in (
        (SINGLE_MEMORY, AFTER_ONE, 1),
        ('memory_attention', 'mask_decoder', MEMORIES),
    ):
        if key in golden:
            conditioned = runtime.memory_attention(features, _bank(runtime, valid))
            decoded = runtime.mask_decoder(features, conditioned, nothing)
            found[f'{name}, mask_decoder'] = compare(golden[key].outputs, _outputs(decoded))
    return found


def _tokens(inputs: Arrays) -> PromptTokens:
    return PromptTokens(*(inputs[name] for name in PromptTokens._fields))


def _outputs(candidates: Candidates) -> Arrays:
    return dict(zip(('masks', 'ious', 'scores', 'object_pointers'), candidates, strict=True))


def _bank(runtime: Runtime, valid: int) -> BankRows:
    spec = runtime.spec
    columns = np.arange(spec.slots), np.arange(spec.pointer_slots)
    slots, pointers = (np.where(column < valid, column, 0)[None] for column in columns)
    temporal = np.zeros((1, spec.slots), np.int64)
    temporal[0, :valid] = TEMPORAL[:valid]
    memory_valid, pointer_valid = ((column < valid).astype(np.float32)[None] for column in columns)
    return BankRows(np.zeros(1, np.int64), slots, temporal, memory_valid, pointers, pointer_valid)
