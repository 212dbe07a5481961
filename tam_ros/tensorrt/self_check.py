# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Does an engine compute what its graph says?

TensorRT 10.3, the one of JetPack 6, is known to give wrong results for some transformers in half
precision, silently. So every engine answers a question whose answer is known before it is used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.engine_runner import Call
from tam_ros.tensorrt.golden import Arrays, Golden

LEAST_COSINE = 0.99
"""The bundled model's graphs in half precision reach 0.99999, run by ONNX Runtime."""

LEAST_IOU = 0.95
MASKS = 'masks'


class Agreement(NamedTuple):
    """How results compare with the reference.

    Attributes:
        cosine: least of all outputs; NaN where a result is not a number.
        output: which output that is.
        iou: of the masks, all candidates together; None where there are none.
    """

    cosine: float
    output: str
    iou: float | None

    @property
    def good(self) -> bool:
        """Whether the engine may be used; False where something is not a number."""
        return bool(self.cosine >= LEAST_COSINE and (self.iou is None or self.iou >= LEAST_IOU))

    def __str__(self) -> str:
        masks = '' if self.iou is None else f', mask IoU {self.iou:.4f}'
        return f'cosine {self.cosine:.5f} ({self.output}){masks}'


def compare(references: Arrays, results: Arrays) -> Agreement:
    """Compare outputs with the reference, by name; a batch is compared row by row.

    Args:
        references: for one object.
        results: for one object or several that were given the same.
    """
    worst, output, iou = np.inf, '', None
    for name, reference in references.items():
        for row in _rows(results[name], reference):
            cosine = _cosine(row, reference)
            if not cosine >= worst:  # also where it is not a number
                worst, output = cosine, name
            if name == MASKS:
                found = _iou(row > 0, reference > 0)
                iou = found if iou is None else min(iou, found)
    return Agreement(float(worst), output, iou)


def _rows(results: NDArray[Any], reference: NDArray[Any]) -> NDArray[Any]:
    return results.astype(np.float64).reshape(-1, *reference.shape)


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    one, other = one.ravel(), other.astype(np.float64).ravel()
    if not np.isfinite(one).all():
        return float('nan')
    scale = np.linalg.norm(one) * np.linalg.norm(other)
    # Two zeros are equal; zero and something else have nothing in common.
    return float(one @ other / scale) if scale else float(not one.any() and not other.any())


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def check_engine(engine: Engine, device: Device, golden: Golden) -> Agreement:
    """Run an engine, for one object and for as many as it takes, and compare.

    Args:
        engine: not in use yet; it is of no other use afterwards.
        device: open in this thread.
        golden: of its graph.
    """
    arena = Arena(device)
    try:
        engine.use(arena.block(engine.scratch_bytes).address)
        call = Call(arena, engine, tuple(engine.tensors), zero_copy=False, cuda_graphs=False)
        found = [
            compare(golden.outputs, _run(call, engine, golden.inputs, objects))
            for objects in sorted({1, engine.max_objects})
        ]
    finally:
        device.wait()
        arena.close()
    return min(found, key=lambda one: (one.good, one.cosine))


def _run(call: Call, engine: Engine, inputs: Arrays, objects: int) -> Arrays:
    given = {
        name: np.repeat(array, objects, axis=0) if engine.tensors[name].per_object else array
        for name, array in inputs.items()
    }
    call.run(objects, given, {})
    return call.read(objects)
