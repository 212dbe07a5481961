# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's parser and builder take every graph, under strong typing.

TensorRT for RTX has the builder of TensorRT 11 and needs neither a GPU nor a driver; its plans are
not for Jetsons and are thrown away. What builds them is what builds a robot's.
"""

from __future__ import annotations

import pytest

from tam_ros.model_files import GRAPH_PRECISIONS
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.builder import BuildSettings, build_engine

MAX_BATCH = 8


@pytest.fixture(scope='module')
def trt():
    """Return TensorRT for RTX."""
    why = 'TensorRT for RTX is not installed: its wheels are for Python 3.11 and 3.12 on x86'
    pytest.importorskip('tensorrt_rtx_libs', reason=why)
    return pytest.importorskip('tensorrt_rtx_bindings', reason=why)


@pytest.mark.parametrize('precision', GRAPH_PRECISIONS)
def test_every_graph_is_built(trt, exported, precision):
    _, folder = exported
    paths = sorted(folder.glob(f'*_{precision}.onnx'))
    assert len(paths) >= 4
    for path in paths:
        built = build_engine(trt, path.stem, path.read_bytes(), BuildSettings(max_batch=MAX_BATCH))
        assert len(built.plan) > 1e6, path.name  # the weights are in it


def test_types_that_do_not_fit_are_refused(trt, exported, tmp_path):
    """The check can fail: TensorRT adds no cast of its own."""
    import onnx

    _, folder = exported
    model = onnx.load(folder / 'memory_encoder_fp16.onnx')
    cast = next(
        node
        for node in model.graph.node
        if node.op_type == 'Cast'
        and any(a.name == 'to' and a.i == onnx.TensorProto.FLOAT16 for a in node.attribute)
    )
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[index] = cast.input[0]
    with pytest.raises(EngineError, match='memory_encoder'):
        build_engine(trt, 'memory_encoder', model.SerializeToString(), BuildSettings(MAX_BATCH))
