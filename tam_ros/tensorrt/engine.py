# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One TensorRT engine: its inputs and outputs, and one run of it.

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
    """An input or output of an engine.

    Attributes:
        name: in the graph.
        dtype: dtype of its elements.
        shape: without the batch dimension if `batched`.
        batched: its first dimension is the batch.
        is_input: an input; otherwise an output.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    batched: bool
    is_input: bool

    @property
    def nbytes(self) -> int:
        """Size of one item of the batch, or of the whole where it is not batched."""
        return prod(self.shape) * self.dtype.itemsize

    def full_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape in a run with this batch size."""
        return (batch, *self.shape) if self.batched else self.shape

    def full_nbytes(self, batch: int) -> int:
        """Return the size in a run with this batch size."""
        return prod(self.full_shape(batch)) * self.dtype.itemsize


class Log:
    """A logger for TensorRT that forwards messages to Python's logging and keeps the errors."""

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        receive = self._receive

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                receive(
                    severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR),
                    severity == trt.ILogger.WARNING,
                    msg,
                )

        self.logger = Logger()

    def _receive(self, error: bool, warning: bool, text: str) -> None:
        # Errors become part of an exception's message; the caller logs them as errors.
        if error:
            self.errors.append(text)
        _log.log(logging.INFO if warning else logging.DEBUG, '%s', text)

    def last_error(self) -> str:
        """Return the last error, or that none was logged."""
        return self.errors[-1] if self.errors else 'TensorRT logged no error'


class Engine:
    """A deserialized engine."""

    def __init__(self, trt: ModuleType, name: str, plan: bytes) -> None:
        """Deserialize a plan. A plan is native code: the caller has checked its origin.

        Args:
            trt: TensorRT.
            name: name of the graph, for messages.
            plan: the serialized engine.

        Raises:
            EngineError: TensorRT does not accept the plan.
        """
        self.name = name
        self._log = Log(trt)
        self._runtime = trt.Runtime(self._log.logger)
        # Plans may embed host libraries; ours never do.
        self._runtime.engine_host_code_allowed = False
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f'the engine of {name} cannot be loaded: {self._log.last_error()}')
        self._engine = engine
        self._context: Any = None
        self.max_batch = 1
        tensors = (self._describe(trt, index) for index in range(engine.num_io_tensors))
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.scratch_bytes = int(engine.device_memory_size_v2)
        self._user_managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._batch: int | None = None

    def _describe(self, trt: ModuleType, index: int) -> Tensor:
        engine = self._engine
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        batched = bool(shape) and shape[0] == -1
        if -1 in shape[1:]:
            raise EngineError(
                f'{name} of {self.name} has the shape {shape}: only the first dimension may be '
                'dynamic'
            )
        if batched and is_input:
            self.max_batch = int(engine.get_tensor_profile_shape(name, 0)[2][0])
        return Tensor(
            name,
            np.dtype(trt.nptype(engine.get_tensor_dtype(name))),
            shape[1:] if batched else shape,
            batched,
            is_input,
        )

    def prepare(self, scratch: int) -> None:
        """Create the execution context.

        Args:
            scratch: address of `scratch_bytes` of device memory. Engines that run one after
                another may share it.
        """
        self._context = self._engine.create_execution_context(self._user_managed)
        if self._context is None:
            raise EngineError(
                f'the engine of {self.name} cannot be prepared: {self._log.last_error()}'
            )
        self._context.set_device_memory(scratch, self.scratch_bytes)

    def run(self, stream: int, addresses: Mapping[str, int], batch: int) -> None:
        """Put a run into a stream.

        Args:
            stream: its handle.
            addresses: addresses of every input and output.
            batch: size of the batch, at most `max_batch`.

        Raises:
            EngineError: TensorRT rejects the run.
        """
        for tensor in self.tensors.values():
            if tensor.is_input and tensor.batched and batch != self._batch:
                shape = tensor.full_shape(batch)
                self._require(self._context.set_input_shape(tensor.name, shape))
            self._require(self._context.set_tensor_address(tensor.name, addresses[tensor.name]))
        self._batch = batch
        self._require(self._context.execute_async_v3(stream))

    def _require(self, accepted: bool) -> None:
        if not accepted:
            self._batch = None
            raise EngineError(f'TensorRT cannot run {self.name}: {self._log.last_error()}')

    def close(self) -> None:
        """Release TensorRT's objects, in this order. Calling it again does nothing."""
        self._context = None
        self._engine = None
        self._runtime = None
