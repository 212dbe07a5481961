# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of backends. To add one, write a module with a `Backend` and add a row here.

The loader, the command line, `tam check` and the node's parameters read it; it imports neither
numpy nor the libraries of the backends.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tam_ros.runtime.base import Backend

AUTO = 'auto'
"""Selects the first precision of the backend."""


@dataclass(frozen=True)
class BackendRow:
    """One backend.

    Attributes:
        name: name shown to users.
        precisions: precisions that it can compute in; `auto` selects the first.
        class_path: `module:class` of its `tam_ros.runtime.base.Backend`.
        libraries: Python modules that it needs.
        runs_graphs: whether it runs exported ONNX graphs; otherwise it runs the network itself.
    """

    name: str
    precisions: tuple[str, ...]
    class_path: str
    libraries: tuple[str, ...]
    runs_graphs: bool = True


_ROWS = (
    BackendRow(
        'onnxruntime',
        ('fp32', 'fp16'),
        'tam_ros.runtime.onnxruntime:OnnxRuntimeBackend',
        ('onnxruntime',),
    ),
    BackendRow(
        'openvino',
        ('fp32', 'bf16'),
        'tam_ros.runtime.openvino:OpenVinoBackend',
        ('openvino',),
    ),
    BackendRow(
        'tensorrt',
        ('fp16', 'fp32'),
        'tam_ros.tensorrt.backend:TensorrtBackend',
        ('tensorrt', 'pycuda'),
    ),
    BackendRow(
        'torch',
        ('fp32',),
        'tam_ros.runtime.torch:TorchBackend',
        ('torch',),
        runs_graphs=False,
    ),
)
BACKENDS = {row.name: row for row in _ROWS}
RUNTIMES = tuple(BACKENDS)
PRECISIONS = (AUTO, *sorted({name for row in _ROWS for name in row.precisions}))
"""Choices of a precision before the backend is known: `auto`, and what any backend offers."""


def choose_precision(runtime: str, precision: str) -> str:
    """Return the precision that a backend will compute in.

    Args:
        runtime: name of the backend.
        precision: one of its precisions, or `auto`.

    Raises:
        ValueError: there is no such backend, or it does not offer this precision.
    """
    row = BACKENDS.get(runtime)
    if row is None:
        raise ValueError(f'there is no runtime {runtime!r}; choose one of {", ".join(RUNTIMES)}')
    if precision == AUTO:
        return row.precisions[0]
    if precision not in row.precisions:
        raise ValueError(
            f'{runtime} does not compute in {precision!r}; choose {AUTO} or one of '
            f'{", ".join(row.precisions)}'
        )
    return precision


def load_backend(runtime: str) -> type[Backend]:
    """Import the class of a backend.

    Raises:
        ImportError: its library is not installed.
        EngineError: its library is missing or cannot be used.
    """
    module, _, name = BACKENDS[runtime].class_path.partition(':')
    backend: type[Backend] = getattr(importlib.import_module(module), name)
    return backend
