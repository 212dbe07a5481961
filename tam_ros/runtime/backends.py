# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of backends. A further one is a file that offers a `Backend`, and a row here.

Read by the loader, the command line, `tam check` and the node's parameters; imports nothing heavy.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tam_ros.runtime.base import Backend

AUTO = 'auto'
"""As a precision: the first of the backend's."""


@dataclass(frozen=True)
class BackendRow:
    """One backend.

    Attributes:
        name: what users call it.
        precisions: what it can compute in; the first is what `auto` stands for.
        class_path: `module:class` of its `tam_ros.runtime.base.Backend`.
        libraries: the Python modules it needs.
        runs_graphs: it runs exported ONNX graphs; otherwise the network itself.
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
        'tam_ros.tensorrt.opening:TensorrtBackend',
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
BACKEND_PRECISIONS = {row.name: row.precisions for row in _ROWS}


def choose_precision(runtime: str, precision: str) -> str:
    """Return what a backend will compute in.

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
        EngineError: its library is installed but cannot be used, or the backend says so itself.
    """
    module, _, name = BACKENDS[runtime].class_path.partition(':')
    return getattr(importlib.import_module(module), name)
