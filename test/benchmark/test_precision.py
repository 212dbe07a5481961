# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of half precision, on a small graph and on the bundled model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmark.precision import RangeSession, SideBySide, group_of, hiding, overlap, show
from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.export.half_precision import in_half_precision, without_marks
from tam_ros.loading import open_exported, open_exported_graphs
from tam_ros.model_files import file_name
from tam_ros.runtime.host import HostRuntime

NAME = 'efficienttam_nano'


def traced():
    """Attention over two keys, one of them masked; then a large value in single precision."""

    def constant(name, value):
        return onnx.numpy_helper.from_array(np.array(value, np.float32), name)

    def mark(name, output, to):
        return helper.make_node('Precision', [name], [output], domain='tam_ros', to=to)

    nodes = [
        mark('x', 'h', 'fp16'),
        mark('bias', 'b', 'fp16'),
        helper.make_node('MatMul', ['h', 'keys'], ['/trunk/logits']),
        helper.make_node('Unsqueeze', ['b', 'axis'], ['/trunk/bias']),
        helper.make_node('Add', ['/trunk/logits', '/trunk/bias'], ['/trunk/all']),
        helper.make_node('Softmax', ['/trunk/all'], ['/trunk/weights']),
        helper.make_node('Neg', ['/trunk/weights'], ['/neck/half']),
        mark('/neck/half', 's', 'fp32'),
        helper.make_node('Mul', ['s', 'much'], ['y']),
    ]
    graph = helper.make_graph(
        nodes,
        'g',
        [
            helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info('bias', TensorProto.FLOAT, [2]),
        ],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 2])],
        [
            constant('keys', [[3.0, 0.0], [0.0, 2.0]]),
            constant('much', 1e6),
            onnx.numpy_helper.from_array(np.array([0], np.int64), 'axis'),
        ],
    )
    return helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid('', 17), helper.make_opsetid('tam_ros', 1)],
    )


def test_values_in_half_precision_count_but_not_those_that_mask(tmp_path):
    model = traced()
    assert hiding(without_marks(model)) == {'/trunk/all', '/trunk/bias'}
    for precision, graph in (('fp32', without_marks(model)), ('fp16', in_half_precision(model))):
        onnx.save(graph, tmp_path / file_name('image_encoder', precision))
    largest = {}
    session = RangeSession(tmp_path, 'image_encoder', largest)
    bias = np.array([0.0, -1e4], np.float32)
    for x in ([[-5.0, 1.0]], [[1.0, 1.0]]):
        outputs = session.run({'x': np.array(x, np.float32), 'bias': bias})
        assert list(outputs) == ['y']
        np.testing.assert_array_equal(outputs['y'], [[-1e6, 0.0]])
    assert largest == {'trunk': 15.0, 'neck': 1.0}


@pytest.mark.parametrize(
    ('graph', 'value', 'heading'),
    [
        ('image_encoder', '/image_encoder/trunk/blocks.0/attn/MatMul_output_0', 'trunk'),
        ('image_encoder', '/Add_output_0', 'neck'),
        (
            'memory_attention_single',
            '/memory_attention/layers.0/self_attn/Add_output_0',
            'self-attention',
        ),
        ('mask_decoder', '/sam_mask_decoder/transformer/layers.0/self_attn/MatMul', 'decoder'),
        ('memory_encoder', '/spatial_perceiver/layers.0/attn/MatMul', 'perceiver'),
    ],
)
def test_groups_of_layers(graph, value, heading):
    assert group_of(graph, value) == heading


def test_overlap_of_masks():
    a, b = np.zeros((2, 4, 4), bool)
    assert overlap(a, b) == 1
    a[:2], b[:1] = True, True
    assert overlap(a, b) == 0.5


@pytest.mark.skipif(
    not (catalogue.engines_dir() / NAME).is_dir(), reason='no trained weights are bundled yet'
)
def test_a_runtime_beside_itself_and_beside_a_worse_one():
    class Worse:
        def __init__(self, session):
            self.session = session

        def run(self, inputs):
            outputs = self.session.run(inputs)
            return outputs | {'masks': outputs['masks'] + 1}

    scene = DemoScene()
    frames = [scene.frame(index) for index in range(4)]
    folder = catalogue.engines_dir() / NAME
    same = SideBySide(open_exported(folder), open_exported(folder))
    show([same], frames, 4)
    assert same.overlaps == [1.0] * len(same.overlaps) and max(same.deviations) == 0
    loaded = open_exported_graphs(folder)
    decoder = Worse(loaded.sessions['mask_decoder'])
    loaded = replace(loaded, sessions={**loaded.sessions, 'mask_decoder': decoder})
    worse = SideBySide(open_exported(folder), HostRuntime('onnxruntime', loaded))
    show([worse], frames, 4)
    objects = len(np.unique(frames[0][1])) - 1
    assert len(worse.overlaps) == len(same.overlaps) == 4 * objects
    assert max(worse.overlaps) < 1 and min(worse.deviations) > 0.1
