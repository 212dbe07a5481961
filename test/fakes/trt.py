# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fake TensorRT; ONNX Runtime runs its engines on the memory of a fake device.

It has only the names that the package uses, and rejects what TensorRT rejects: files that are not
ONNX, addresses that are not aligned, shapes outside the profile, runs without scratch memory, and
plans that it did not write. Use `make()` as the module, or in other processes this file.
"""

from __future__ import annotations

import pickle
from enum import Enum, IntEnum
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort

from fakes.device import POISON, MisuseError, of_stream
from tam_ros.tensorrt.device import ALIGNMENT

MAGIC = b'fake plan\n'
SCRATCH = 4096
DTYPES = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.UINT8: np.uint8,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.INT32: np.int32,
}


class DataType(Enum):
    FLOAT = np.float32
    HALF = np.float16
    UINT8 = np.uint8
    INT64 = np.int64
    INT32 = np.int32


class TensorIOMode(Enum):
    INPUT = 0
    OUTPUT = 1


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class Flag(IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(Enum):
    WORKSPACE = 0


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity, msg):
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self):
        pass


class ITensor:
    def __init__(self, name, dtype, shape):
        self.name, self.dtype, self.shape = name, DataType(dtype), tuple(shape)


class INetworkDefinition:
    def __init__(self, flags):
        assert flags == 1 << int(Flag.STRONGLY_TYPED), 'only strongly typed networks'
        self.onnx = b''
        self.inputs, self.outputs = [], []

    num_inputs = property(lambda self: len(self.inputs))

    def get_input(self, index):
        return self.inputs[index]


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.logger, self.errors = network, logger, []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, index):
        return self.errors[index]

    def parse(self, data):
        network = self.network
        try:
            model = onnx.load_model_from_string(data)
        except Exception:
            self.errors.append(
                SimpleNamespace(
                    desc=lambda: 'not an ONNX model',
                    node=lambda: -1,
                    node_name=lambda: '',
                    node_operator=lambda: '',
                )
            )
            return False
        network.onnx = bytes(data)

        def tensors(values):
            for value in values:
                kind = value.type.tensor_type
                shape = [d.dim_value if d.HasField('dim_value') else -1 for d in kind.shape.dim]
                yield ITensor(value.name, DTYPES[kind.elem_type], shape)

        constants = {tensor.name for tensor in model.graph.initializer}
        network.inputs = [t for t in tensors(model.graph.input) if t.name not in constants]
        network.outputs = list(tensors(model.graph.output))
        return True


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, best, most):
        assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))
        self.shapes[name] = tuple(least), tuple(best), tuple(most)


class TimingCache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return self.data


class IBuilderConfig:
    def __init__(self):
        self.limits, self.profiles = {}, []
        self.progress_monitor = None
        self.timing_cache = None

    def set_memory_pool_limit(self, pool, nbytes):
        self.limits[pool] = nbytes

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def create_timing_cache(self, data):
        if data and not data.startswith(b'timings'):
            return None
        return TimingCache(bytes(data) or b'timings')

    def set_timing_cache(self, cache, ignore_mismatch):
        self.timing_cache = cache
        return True

    def get_timing_cache(self):
        return self.timing_cache


class Builder:
    """`made` lists the networks that were built, `fail` the error for a network by an output."""

    made: list = []
    fail: dict[str, str] = {}

    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        type(self).made.append((network, config))
        names = {tensor.name for tensor in network.outputs}
        for output, text in type(self).fail.items():
            if output in names:
                self.logger.log(ILogger.ERROR, text)
                return None
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start('Building engine', None, 2)
            for step in range(2):
                monitor.phase_start('Timing', 'Building engine', 3)
                for inner in range(3):
                    if not monitor.step_complete('Timing', inner):
                        return None
                monitor.phase_finish('Timing')
                if not monitor.step_complete('Building engine', step):
                    return None
            monitor.phase_finish('Building engine')
        dynamic = [t for t in network.inputs if -1 in t.shape]
        profile = config.profiles[0].shapes if config.profiles else {}
        if {t.name for t in dynamic} != set(profile):
            self.logger.log(ILogger.ERROR, 'dynamic inputs need a profile')
            return None
        return MAGIC + pickle.dumps(
            {
                'onnx': network.onnx,
                'profile': profile,
                'inputs': [(t.name, t.dtype.name) for t in network.inputs],
                'outputs': [(t.name, t.dtype.name) for t in network.outputs],
            }
        )


class Runtime:
    def __init__(self, logger):
        self.logger = logger
        self.engine_host_code_allowed = True  # the package must turn it off

    def deserialize_cuda_engine(self, plan):
        assert self.engine_host_code_allowed is False
        if not plan.startswith(MAGIC):
            self.logger.log(ILogger.ERROR, 'magicTag mismatch')
            return None
        return ICudaEngine(pickle.loads(plan[len(MAGIC) :]))


class ICudaEngine:
    device_memory_size_v2 = SCRATCH

    def __init__(self, plan):
        self.session = ort.InferenceSession(plan['onnx'], providers=['CPUExecutionProvider'])
        self.profile = plan['profile']
        shapes = [
            [d if isinstance(d, int) else -1 for d in value.shape]
            for value in (*self.session.get_inputs(), *self.session.get_outputs())
        ]
        kinds = [TensorIOMode.INPUT] * len(plan['inputs']) + [TensorIOMode.OUTPUT] * len(
            plan['outputs']
        )
        self.tensors = {
            name: SimpleNamespace(shape=shape, dtype=DataType[dtype], mode=mode)
            for (name, dtype), shape, mode in zip(
                plan['inputs'] + plan['outputs'], shapes, kinds, strict=True
            )
        }

    num_io_tensors = property(lambda self: len(self.tensors))

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_shape(self, name):
        return self.tensors[name].shape

    def get_tensor_dtype(self, name):
        return self.tensors[name].dtype

    def get_tensor_mode(self, name):
        return self.tensors[name].mode

    def get_tensor_profile_shape(self, name, profile):
        assert profile == 0
        return self.profile[name]

    def create_execution_context(self, strategy):
        assert strategy is Strategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self.engine = engine
        self.addresses, self.shapes = {}, {}
        self.scratch = None

    def set_device_memory(self, address, nbytes):
        self.scratch = address, nbytes

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.profile[name]
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        if address % ALIGNMENT:
            raise MisuseError(f'{name} is not aligned')
        self.addresses[name] = address
        return True

    def _arrays(self, device, mode, batch):
        for name, tensor in self.engine.tensors.items():
            if tensor.mode is not mode:
                continue
            shape = self.shapes.get(name) or tuple(batch if d == -1 else d for d in tensor.shape)
            dtype = np.dtype(tensor.dtype.value)
            block, data = device.find(self.addresses[name], int(np.prod(shape)) * dtype.itemsize)
            yield name, block, data.view(dtype).reshape(shape)

    def execute_async_v3(self, stream):
        device = of_stream(stream)
        engine = self.engine
        if self.scratch is None:
            raise MisuseError('no scratch memory')
        block, _ = device.find(*self.scratch)
        counts = {shape[0] for shape in self.shapes.values()}
        if len(counts) > 1 or {
            name
            for name, tensor in engine.tensors.items()
            if -1 in tensor.shape and tensor.mode is TensorIOMode.INPUT
        } != set(self.shapes):
            raise MisuseError('shapes are missing or do not fit')
        batch = next(iter(counts), 1)
        inputs = list(self._arrays(device, TensorIOMode.INPUT, batch))
        outputs = list(self._arrays(device, TensorIOMode.OUTPUT, batch))
        mapped = []

        def at_once():
            mapped[:] = [
                (array, array.copy()) for _, used, array in inputs if used.kind == 'pinned'
            ]
            for _, used, array in outputs:
                if used.kind == 'pinned':  # must not be read yet
                    array.view(np.uint8)[:] = POISON

        device.journal.append(('run', tuple(engine.tensors), batch))

        def work():
            if not all(np.array_equal(now, then) for now, then in mapped):
                raise MisuseError('mapped memory was changed before the run that reads it')
            feed = {name: array for name, _, array in inputs}
            for (_, _, target), result in zip(
                outputs, engine.session.run(None, feed), strict=True
            ):
                assert target.shape == result.shape, (target.shape, result.shape)
                target[:] = result

        used = [block, *(used for _, used, _ in (*inputs, *outputs))]
        device.enqueue(used, work, at_once)
        return True


def nptype(dtype):
    return dtype.value


__version__ = '10.3.0'
NetworkDefinitionCreationFlag, ExecutionContextAllocationStrategy = Flag, Strategy


def make(**changes):
    """Return the module with a `Builder` class of its own, and with changes."""
    return SimpleNamespace(
        **{
            '__version__': __version__,
            'ILogger': ILogger,
            'DataType': DataType,
            'IProgressMonitor': IProgressMonitor,
            'TensorIOMode': TensorIOMode,
            'MemoryPoolType': MemoryPoolType,
            'NetworkDefinitionCreationFlag': Flag,
            'ExecutionContextAllocationStrategy': Strategy,
            'Builder': type('Builder', (Builder,), {'made': [], 'fail': {}}),
            'OnnxParser': OnnxParser,
            'Runtime': Runtime,
            'nptype': nptype,
            **changes,
        }
    )
