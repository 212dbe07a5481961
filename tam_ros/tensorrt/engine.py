# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One TensorRT engine: what goes in and out, and one run of it.

Uses only what TensorRT 10.3 to 11.4 have in common.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from tam_ros.runtime.base import EngineError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: in the graph.
        dtype: of its elements.
        shape: of one object, without the dimension of objects, where `per_object`; else of all.
        per_object: the objects are its first dimension.
        is_input: or else an output.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    per_object: bool
    is_input: bool

    @property
    def nbytes(self) -> int:
        """Of one object, or of the whole."""
        return prod(self.shape) * self.dtype.itemsize

    def full_shape(self, objects: int) -> tuple[int, ...]:
        """Return the shape of a run with so many objects."""
        return (objects, *self.shape) if self.per_object else self.shape


class Log:
    """What a library said last, and a logger for it that hands it on to Python's."""

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        keeper = self

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                keeper.hear(
                    severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR),
                    severity == trt.ILogger.WARNING,
                    msg,
                )

        self.logger = Logger()

    def hear(self, error: bool, warning: bool, text: str) -> None:
        """Keep errors, for whoever has to say why something failed; they are logged by them."""
        if error:
            self.errors.append(text)
        _log.log(logging.INFO if warning else logging.DEBUG, '%s', text)

    def last(self) -> str:
        """Return the last error, or that there was none."""
        return self.errors[-1] if self.errors else 'TensorRT gives no reason'


class Engine:
    """A plan, loaded."""

    def __init__(self, trt: ModuleType, name: str, plan: bytes) -> None:
        """Deserialise a plan. It is native code: whoever calls this has checked where it is from.

        Args:
            trt: TensorRT.
            name: of the graph, for messages.
            plan: the bytes.

        Raises:
            EngineError: TensorRT does not accept it.
        """
        self.name = name
        self._log = Log(trt)
        self._runtime = trt.Runtime(self._log.logger)
        # Plans that bring libraries of their own are never ours.
        self._runtime.engine_host_code_allowed = False
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f'the engine of {name} cannot be loaded: {self._log.last()}')
        self._engine = engine
        self._context: Any = None
        self.max_objects = 1
        tensors = (self._describe(trt, index) for index in range(engine.num_io_tensors))
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.scratch_bytes = int(engine.device_memory_size_v2)
        self._user_managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._objects: int | None = None

    def _describe(self, trt: ModuleType, index: int) -> Tensor:
        engine = self._engine
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        per_object = bool(shape) and shape[0] == -1
        if -1 in shape[1:]:
            raise EngineError(
                f'{name} of {self.name} has the shape {shape}: only the number of '
                'objects may be open'
            )
        if per_object and is_input:
            self.max_objects = int(engine.get_tensor_profile_shape(name, 0)[2][0])
        return Tensor(
            name,
            np.dtype(trt.nptype(engine.get_tensor_dtype(name))),
            shape[1:] if per_object else shape,
            per_object,
            is_input,
        )

    def use(self, scratch: int) -> None:
        """Make it ready to run.

        Args:
            scratch: address of `scratch_bytes` of device memory, which several engines may share
                that run one after another.
        """
        self._context = self._engine.create_execution_context(self._user_managed)
        if self._context is None:
            raise EngineError(f'the engine of {self.name} cannot be used: {self._log.last()}')
        self._context.set_device_memory(scratch, self.scratch_bytes)

    def run(self, stream: int, addresses: Mapping[str, int], objects: int) -> None:
        """Put a run into a stream.

        Args:
            stream: its handle.
            addresses: of every input and output.
            objects: in this run, at most `max_objects`.

        Raises:
            EngineError: TensorRT refuses.
        """
        for tensor in self.tensors.values():
            if tensor.is_input and tensor.per_object and objects != self._objects:
                shape = tensor.full_shape(objects)
                self._accept(self._context.set_input_shape(tensor.name, shape))
            self._accept(self._context.set_tensor_address(tensor.name, addresses[tensor.name]))
        self._objects = objects
        self._accept(self._context.execute_async_v3(stream))

    def _accept(self, accepted: bool) -> None:
        if not accepted:
            self._objects = None
            raise EngineError(f'TensorRT refuses to run {self.name}: {self._log.last()}')

    def close(self) -> None:
        """Give back what TensorRT holds; in this order."""
        self._context = None
        self._engine = None
        self._runtime = None
