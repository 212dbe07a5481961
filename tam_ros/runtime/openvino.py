# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the processor: for robots with an Intel computer and no GPU.

Single precision is the default. In bf16 the masks stay within an IoU of 0.99 of it on nearly all
real footage, but not on all (docs/performance.md).
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.cache import make_cache_folder
from tam_ros.graph_files import read_graph
from tam_ros.model_files import GraphSpec, WeightsError, read_spec
from tam_ros.onnx_file import OnnxFileError, with_float_input
from tam_ros.reading import reason
from tam_ros.runtime.backends import choose_precision
from tam_ros.runtime.base import Arrays, EngineError, LoadedGraphs, ModelSource, Session
from tam_ros.runtime.host import HostBackend, float_input

# Importing openvino sends a usage report over the network, unless this package is missing. A robot
# must not report that it was started.
_ABSENT = 'openvino_telemetry' not in sys.modules
if _ABSENT:
    sys.modules['openvino_telemetry'] = None  # type: ignore[assignment]
try:
    import openvino as ov
    from openvino import properties
    from openvino.properties import hint
except ImportError as error:
    raise EngineError(
        f'the runtime openvino needs a library that is not installed ({error}); '
        "`pip install 'openvino>=2025,<2027'`"
    ) from error
finally:
    if _ABSENT:
        del sys.modules['openvino_telemetry']

DEVICE = 'CPU'

_log = logging.getLogger(__name__)


class OpenVinoSession(Session):
    """One graph in OpenVINO.

    It is compiled for a batch of one, and the items of a batch are run one after another. With a
    dynamic batch, OpenVINO 2026.4 fuses an addition in the memory encoder into a convolution as if
    the frame's features had the batch size of the objects: several objects fail, or get wrong
    memories. A graph for each batch size would have to be compiled when that size first occurs.
    One object alone has hundreds of queries and more, so batching gains next to nothing.
    """

    def __init__(
        self,
        core: ov.Core,
        model: bytes,
        graph: GraphSpec,
        settings: dict[Any, Any],
        float_input: str | None = None,
    ) -> None:
        """Load and compile a graph.

        Args:
            core: OpenVINO's core.
            model: content of the ONNX file, which was checked.
            graph: its spec, for which inputs and outputs are batched.
            settings: properties to compile it with.
            float_input: an input of the type uint8 that takes float32 as well; None: none.

        Raises:
            WeightsError: the file is damaged.
        """
        self._graph = graph
        self._float_input = float_input
        self._request = _compile(core, model, graph.name, settings, float_input)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph."""
        if self._float_input is not None:
            image = np.asarray(inputs[self._float_input], np.float32)
            inputs = {**inputs, self._float_input: image}
        batched = {tensor.name for tensor in self._graph.inputs if tensor.batched}
        count = max((len(inputs[name]) for name in batched), default=1)
        outputs: Arrays = {}
        for index in range(count):
            self._request.infer(
                {
                    # An input of a batch of one serves all items of the others.
                    name: x[index : index + 1] if name in batched and len(x) > 1 else x
                    for name, x in inputs.items()
                },
                share_inputs=True,
                share_outputs=True,
            )
            # The next run overwrites the tensors of the request.
            for tensor in self._graph.outputs:
                result = self._request.get_tensor(tensor.name).data
                if not tensor.batched:
                    outputs[tensor.name] = result.copy()
                    continue
                if index == 0:
                    outputs[tensor.name] = np.empty((count, *result.shape[1:]), result.dtype)
                outputs[tensor.name][index] = result[0]
        return outputs


class OpenVinoBackend(HostBackend):
    """Runs a folder of exported graphs; compiling takes seconds the first time on a machine.

    The precision `bf16` is used for graphs that tolerate it (`GraphSpec.tolerates_bf16`): of a
    tracker the image encoder and the memory attention, which are nearly all of the work. In the
    decoder and the memory encoder it saves next to no time and harms the masks: in one DAVIS
    sequence their IoU fell to 0.89. It is faster only on processors with instructions for it (AMX,
    AVX512_BF16); others convert.
    """

    name = 'openvino'
    float_images = True

    def load(self, source: ModelSource) -> LoadedGraphs:
        """Load and compile all graphs of a model."""
        precision = choose_precision(self.name, self.precision)
        core = ov.Core()
        _check(core, precision)
        folder = source.graphs()
        spec = read_spec(folder)
        settings = {
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            properties.inference_num_threads: self.threads or 0,
            # Two nodes on one robot would be pinned to the same cores.
            hint.enable_cpu_pinning: False,
            **_cache_settings(),
        }
        sessions = {}
        for graph in spec.graphs:
            half = precision == 'bf16' and graph.tolerates_bf16
            settings[hint.inference_precision] = ov.Type.bf16 if half else ov.Type.f32
            sessions[graph.name] = OpenVinoSession(
                core,
                read_graph(folder, graph.name, 'fp32'),
                graph,
                settings,
                float_input(spec, graph.name),
            )
        info = {
            'device': core.get_property(DEVICE, properties.device.full_name),
            'precision': {'fp32': 'float32', 'bf16': 'bfloat16'}[precision],
        }
        return LoadedGraphs(spec, sessions, info)


def _check(core: ov.Core, precision: str) -> None:
    able = core.get_property(DEVICE, properties.device.capabilities)
    if precision == 'bf16' and 'BF16' not in able:
        name = core.get_property(DEVICE, properties.device.full_name)
        raise EngineError(f'{name} cannot compute in bf16; choose the precision fp32')


def _compile(
    core: ov.Core,
    data: bytes,
    name: str,
    settings: dict[Any, Any],
    float_input: str | None,
) -> ov.InferRequest:
    try:
        if float_input is not None:
            data = with_float_input(data, float_input)
        model = core.read_model(io.BytesIO(data))
        model.reshape(
            {
                port.any_name: [
                    1 if size.is_dynamic else size.get_length() for size in port.partial_shape
                ]
                for port in model.inputs
            }
        )
        return core.compile_model(model, DEVICE, settings).create_infer_request()
    except (RuntimeError, OnnxFileError) as error:
        raise WeightsError(f'the graph {name} cannot be loaded: {reason(error)}') from error


def _cache_settings() -> dict[Any, str]:
    """Return the settings for a folder of compiled graphs, which may be emptied at any time.

    OpenVINO compares the graph, the processor and its own version before it uses a file.
    """
    try:
        return {properties.cache_dir: str(make_cache_folder('openvino'))}
    except OSError as error:
        _log.warning('the graphs are compiled each time a model is opened: %s', error)
        return {}
