# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fp16 graphs: which parts compute in half precision, and how close they are to fp32."""

from __future__ import annotations

from dataclasses import replace

import edgekit
import kit
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from benchmark.precision import LARGEST, Ranges, SideBySide, show
from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.evaluation.dataset import open_dataset
from tam_ros.export import half_precision
from tam_ros.export.half_precision import in_half_precision, without_marks
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_exported, open_exported_graphs
from tam_ros.model_files import ABSENT, GRAPH_PRECISIONS, PADDING, WeightsError, file_name
from tam_ros.models.build import build_network
from tam_ros.models.tracker_family import HALF_PRECISION
from tam_ros.tracking import Prompt, Tracker

NAME = 'efficienttam_nano'
WORK = ('Conv', 'ConvTranspose', 'MatMul', 'Gemm')
# Single precision is required where the name of a value contains one of these.
SINGLE = (
    '/output_hypernetworks_mlps',
    '/iou_prediction_head',
    '/pred_obj_score_head',
    '/obj_ptr_proj',
    '/se/',
    '/pe_layer',
    '/mask_downscaling',
)
DEVIATION = 0.03  # max|difference| / std of the fp32 output; random weights on noise


def element_types(model):
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {tensor.name: tensor.data_type for tensor in graph.initializer} | {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def inputs_and_outputs(model):
    return [
        (value.name, value.type.tensor_type.elem_type)
        for value in (*model.graph.input, *model.graph.output)
    ]


def test_which_parts_compute_in_half_precision(exported):
    entry, folder = exported
    work = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for path in sorted(folder.glob('*_fp16.onnx')):
        model = onnx.load(path)
        types = element_types(model)
        constant = set(types) - {name for node in model.graph.node for name in node.output}
        constant -= {value.name for value in model.graph.input}
        makers = {name: node for node in model.graph.node for name in node.output}
        for node in model.graph.node:
            type_, name = types[node.output[0]], node.output[0]
            constant.update(node.output if set(node.input) <= constant else ())
            if name in constant:
                continue
            if node.op_type in ('LayerNormalization', 'Sqrt', 'ReduceMean'):
                assert type_ == TensorProto.FLOAT, (path.name, name)
            elif node.op_type == 'Softmax':
                # The pattern that TensorRT runs as one kernel, in half precision throughout.
                assert type_ == TensorProto.FLOAT16, (path.name, name)
                logits = makers[node.input[0]]
                if logits.op_type == 'Add':
                    (logits,) = (makers[x] for x in logits.input if makers[x].op_type == 'MatMul')
                assert logits.op_type == 'MatMul'
                assert types[logits.output[0]] == TensorProto.FLOAT16
            elif node.op_type in WORK:
                work[type_] += 1
                # the product of kernels and upscaled features is the masks themselves
                wanted = node.name == '/sam_mask_decoder/MatMul' or any(
                    part in node.name for part in SINGLE
                )
                assert (type_ == TensorProto.FLOAT) == wanted, (path.name, node.name)
    assert work[TensorProto.FLOAT16] > 3 * work[TensorProto.FLOAT] > 0


def test_graphs_of_both_precisions_have_the_same_inputs_and_outputs(exported):
    """So that a graph can be replaced by that of the other precision."""
    _, folder = exported
    for path in folder.glob('*_fp16.onnx'):
        half, single = (
            onnx.load(x) for x in (path, path.with_name(path.name.replace('fp16', 'fp32')))
        )
        assert inputs_and_outputs(half) == inputs_and_outputs(single)
        assert TensorProto.FLOAT16 not in dict(inputs_and_outputs(half)).values()
        assert (
            path.stat().st_size
            < 0.7 * path.with_name(path.name.replace('fp16', 'fp32')).stat().st_size
        )


def inputs_of(spec, graph, objects=2):
    """Return noise for a graph of a tracker; some memories and points are masked."""
    random = np.random.default_rng(0)
    inputs = {}
    for value in spec.graph(graph).inputs:
        shape = value.full_shape(objects)
        if value.dtype == 'uint8':
            inputs[value.name] = random.integers(0, 256, shape, np.uint8)
        elif value.name == 'labels':
            labels = [1, 0, PADDING] + [ABSENT] * (shape[1] - 3)
            inputs[value.name] = np.tile(labels, (objects, 1))
        elif value.name == 'temporal_index':
            inputs[value.name] = random.integers(0, 7, shape)
        elif value.name.endswith('_valid'):
            inputs[value.name] = (np.arange(shape[1]) < (shape[1] + 1) // 2).astype(
                np.float32
            ) * np.ones(shape, np.float32)
        elif value.name == 'points':
            pixels = random.random(shape) * spec.image_size
            inputs[value.name] = pixels.astype(np.float32)
        elif len(shape) == 1:
            inputs[value.name] = (np.arange(shape[0]) % 2).astype(np.float32)
        else:
            inputs[value.name] = random.normal(size=shape).astype(np.float32)
    return inputs


def outputs_of(graphs, name, inputs):
    """Run a graph; return its outputs in order."""
    return list(graphs.sessions[name].run(inputs).values())


def test_half_precision_is_close(exported):
    entry, folder = exported
    single, half = (open_exported_graphs(folder, precision=name) for name in GRAPH_PRECISIONS)
    assert (single.info['precision'], half.info['precision']) == ('float32', 'float16')
    for graph in single.spec.graph_names:
        inputs = inputs_of(single.spec, graph, objects=1 if single.spec.image_size >= 1024 else 2)
        for a, b in zip(
            outputs_of(single, graph, inputs), outputs_of(half, graph, inputs), strict=True
        ):
            assert a.dtype == b.dtype == np.float32
            assert not np.array_equal(a, b), f'{graph} is not in half precision'
            assert np.abs(a - b).max() <= DEVIATION * max(a.std(), 0.03 * np.abs(a).max()), graph


@pytest.fixture(scope='module')
def nano(tmp_path_factory):
    """Return the graphs of the bundled weights in both precisions."""
    weights = catalogue.engines_dir() / NAME / f'{NAME}.safetensors'
    if not weights.is_file():
        pytest.skip('no trained weights are bundled yet')
    return export_model(
        catalogue.model(NAME), weights, tmp_path_factory.mktemp('trained') / 'graphs'
    )


@pytest.mark.parametrize('precision', GRAPH_PRECISIONS)
def test_masked_inputs_have_no_influence_at_all(nano, precision):
    """The exponential of -1e4 is exactly zero in half precision too."""
    graphs = open_exported_graphs(nano, precision=precision)
    random = np.random.default_rng(1)
    attention = inputs_of(graphs.spec, 'memory_attention')
    decoder = inputs_of(graphs.spec, 'mask_decoder')

    def results():
        return [
            *outputs_of(graphs, 'memory_attention', attention),
            *outputs_of(graphs, 'mask_decoder', decoder),
        ]

    before = results()
    for values, valid in (('memories', 'memory_valid'), ('pointers', 'pointer_valid')):
        hidden = attention[valid] == 0
        assert hidden.any()
        attention[values][hidden] = 8 * random.normal(size=attention[values][hidden].shape)
    decoder['points'][decoder['labels'] == ABSENT] = 3.0
    for one, other in zip(before, results(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('precision', GRAPH_PRECISIONS)
def test_memories_come_out_rounded_to_bfloat16(nano, precision):
    graphs = open_exported_graphs(nano, precision=precision)
    inputs = inputs_of(graphs.spec, 'memory_encoder')
    (memory,) = outputs_of(graphs, 'memory_encoder', inputs)
    assert np.count_nonzero(memory) > 0.99 * memory.size
    np.testing.assert_array_equal(memory.view(np.uint32) & 0xFFFF, 0)


@pytest.mark.slow
def test_half_precision_is_close_when_every_value_is_rounded(nano):
    """ONNX Runtime omits some roundings; the reference evaluator of onnx omits none."""
    single = open_exported_graphs(nano)
    for graph in single.spec.graph_names:
        inputs = inputs_of(single.spec, graph, objects=1)
        strict = ReferenceEvaluator(onnx.load(nano / file_name(graph, 'fp16'))).run(None, inputs)
        for a, b in zip(outputs_of(single, graph, inputs), strict, strict=True):
            assert np.abs(a - b).max() <= DEVIATION * max(a.std(), 0.03 * np.abs(a).max()), graph


def test_masks_are_the_same_on_a_drawn_clip(nano):
    scene = DemoScene()
    overlaps = show(
        [open_exported(nano, precision=name) for name in GRAPH_PRECISIONS],
        [scene.frame(index) for index in range(6)],
        6,
    )
    assert len(overlaps) >= 10 and min(overlaps) >= 0.99


@pytest.mark.slow
def test_masks_are_the_same_on_real_sequences(nano, shared_data):
    """Each runtime keeps its own memories, so deviations can accumulate."""
    for sequence in open_dataset(shared_data):
        overlaps = show(
            [open_exported(nano, precision=name) for name in GRAPH_PRECISIONS], sequence, 12
        )
        assert min(overlaps) >= 0.99, sequence.name


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'efficienttam_ti_512x512',
        'edgetam_512',
        pytest.param('efficienttam_s_512x512', marks=pytest.mark.exhaustive),
        pytest.param('efficienttam_ti_1', marks=pytest.mark.exhaustive),
        pytest.param('edgetam', marks=pytest.mark.exhaustive),
    ],
)
def test_masks_and_range_on_the_parity_clips(name, tmp_path, shared_parity, shared_data):
    """With the parity kits' random weights and real frames; each frame is compared by itself."""
    edge = name.startswith('edgetam')
    state = edgekit.state_dict() if edge else kit.state_dict(name)
    torch.save(
        {'model': {key: torch.from_numpy(x) for key, x in state.items()}}, tmp_path / 'weights.pt'
    )
    if edge:
        frames = edgekit.real_frames(4)
    else:
        with np.load(kit.KIT / 'open' / 'real_open.npz') as arrays:
            frames = list(arrays[arrays.files[0]][:4])
    folder = export_model(catalogue.model(name), tmp_path / 'weights.pt', tmp_path / 'graphs')
    height, width = frames[0].shape[:2]
    sides = SideBySide(*(open_exported(folder, precision=x) for x in GRAPH_PRECISIONS))
    ranges = Ranges(folder)
    for tracker in (Tracker(sides), Tracker(ranges)):
        for index, image in enumerate(frames[: 4 if sides.spec.image_size < 1024 else 3]):
            tracker.step(
                image,
                index / 24,
                [] if index else [Prompt.points(1, [[width / 2, height / 2]], [1])],
            )
    assert len(sides.overlaps) >= 3
    assert min(sides.overlaps) >= 0.99
    assert 1 < max(ranges.largest.values()) < LARGEST / 10


def test_folder_without_half_precision_says_what_to_do():
    folder = catalogue.engines_dir() / NAME
    with pytest.raises(WeightsError, match=r'image_encoder_fp16.onnx; .*`tam export MODEL'):
        open_exported(folder, precision='fp16')
    with pytest.raises(ValueError, match='one of fp32, fp16'):
        open_exported(folder, precision='int8')


def marked(nodes, constants=(), inputs=('x',), outputs=('y',)):
    """Return a graph of vectors with marks, as the exporter traces it."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            'g',
            *(
                [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in names]
                for names in (inputs, outputs)
            ),
            [
                onnx.numpy_helper.from_array(np.array(value, np.float32), name)
                for name, value in constants
            ],
        ),
        opset_imports=[helper.make_opsetid('', 17), helper.make_opsetid('tam_ros', 1)],
    )


def mark(name, output, to):
    return helper.make_node('Precision', [name], [output], domain='tam_ros', to=to)


def run(model, **inputs):
    onnx.checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, inputs)


X = np.array([1.0, 1 + 2**-12], np.float32)  # half precision cannot represent the second


@pytest.mark.parametrize(
    ('nodes', 'constants', 'expected'),
    [
        # Constants take the type of what they are combined with, computed ones too.
        (
            [
                mark('x', 'h', 'fp16'),
                helper.make_node('Exp', ['c'], ['e']),
                helper.make_node('Add', ['h', 'e'], ['s']),
                helper.make_node('Mul', ['s', 'c'], ['y']),
            ],
            [('c', [0.0, 0.0])],
            [0.0, 0.0],
        ),
        # Of two types the more precise one wins.
        ([mark('x', 'h', 'fp16'), helper.make_node('Sub', ['x', 'h'], ['y'])], [], [0.0, 2**-12]),
        # After the return to single precision nothing more is rounded.
        (
            [
                mark('x', 'h', 'fp16'),
                mark('h', 's', 'fp32'),
                helper.make_node('Sub', ['s', 'c'], ['y']),
            ],
            [('c', [2**-20, 0.0])],
            [1 - 2**-20, 1.0],
        ),
        # An output that is marked itself, and a mark that has no effect.
        (
            [
                helper.make_node('Neg', ['x'], ['n']),
                mark('n', 'm', 'fp32'),
                mark('m', 'y', 'fp16'),
            ],
            [],
            [-1.0, -1.0],
        ),
    ],
)
def test_type_promotion(nodes, constants, expected):
    model = marked(nodes, constants)
    half = in_half_precision(model)
    assert [(o.domain, o.version) for o in half.opset_import] == [('', 17)]
    np.testing.assert_array_equal(run(half, x=X)[0], np.array(expected, np.float32))
    single = without_marks(model)
    assert TensorProto.FLOAT16 not in element_types(single).values()
    assert not any(node.op_type in ('Cast', 'Precision') for node in single.graph.node)
    run(single, x=X)


@pytest.mark.parametrize('field', ['halves', 'heads'])
def test_a_part_that_the_network_lacks_is_refused(field):
    network = build_network(catalogue.model(NAME), 'untrained')
    names = (*getattr(HALF_PRECISION, field), 'image_encoder.nek')
    with pytest.raises(ValueError, match=r'EfficientTAM matches image_encoder\.nek, named'):
        half_precision.mark(network, replace(HALF_PRECISION, **{field: names}))


def test_constant_beyond_half_precision_is_refused():
    model = marked(
        [mark('x', 'h', 'fp16'), helper.make_node('Add', ['h', 'c'], ['y'])], [('c', [7e4, 0.0])]
    )
    with pytest.raises(ValueError, match='constant c is too large'):
        in_half_precision(model)
