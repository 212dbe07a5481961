# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The four functions of a network as ONNX graphs, in single and in half precision.

Opset 17, static shapes but for the number of objects; the object dimension is written so that no
shape is computed at run time. Attention is MatMul-Softmax-MatMul and the rotary tables are held
once.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.export.precision import DOMAIN, mark
from tam_ros.export.types import in_half_precision, without_marks
from tam_ros.models.build import build_network, describe
from tam_ros.models.network import TrackAnything
from tam_ros.models.repvit import fuse
from tam_ros.runtime.base import ModelSpec
from tam_ros.runtime.graphs import DESCRIPTION, HIGH_RESOLUTION, SINGLE_MEMORY, file_name

OPSET = 17
HALVED_FROM = 128  # elements; a cast takes as much space as it saves on fewer
REARRANGING = ('Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze')
OBJECTS = 'objects'  # the dynamic dimension


class GraphDefinition(NamedTuple):
    """One graph.

    Attributes:
        name: of the file.
        module: computes it.
        inputs: example inputs by name, in order.
        outputs: names of the outputs.
        per_object: which inputs and outputs carry the objects in their first dimension.
        fold: compute constants from constants when exporting. Off where that would write out
            large tables that follow from small ones; runtimes fold them when they load.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    per_object: tuple[str, ...]
    fold: bool = True


class Function(nn.Module):
    """Makes a module of one function of a network, which is of no other use afterwards."""

    def __init__(self, network: TrackAnything, function: str, **fixed: bool) -> None:
        super().__init__()
        for module in network.modules():
            # The exporter sees only what is in the state_dict; of the rest it would write out
            # results, such as whole position maps, instead of their small origins.
            module._non_persistent_buffers_set.clear()
        self.network = network
        self.function = function
        self.fixed = fixed

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Call the function."""
        return getattr(self.network, self.function)(*inputs, **self.fixed)


class StoredMemory(Function):
    """Encodes memories and rounds them to bfloat16, as the official predictor keeps them.

    In the graph, so that memories need not leave the device to be stored.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call the function."""
        return super().forward(*inputs).bfloat16().float()


def definitions(network: TrackAnything, spec: ModelSpec) -> Iterator[GraphDefinition]:
    """Describe the graphs of a network, with inputs for two objects."""
    size, mask, grid, objects = spec.image_size, spec.mask_size, spec.image_size // 16, 2
    features = torch.zeros(1, spec.dim, grid, grid)
    finer = {
        name: torch.zeros(1, spec.dim // part, grid * scale, grid * scale)
        for name, part, scale in zip(HIGH_RESOLUTION, (4, 8), (2, 4), strict=True)
        if network.config.high_resolution
    }
    yield GraphDefinition(
        'image_encoder',
        Function(network, 'encode_image'),
        {'image': torch.zeros(1, size, size, 3, dtype=torch.uint8)},
        ('features', 'features_without_memory', *finer),
        (),
    )

    def memory_attention(name: str, slots: int, pooled: bool) -> GraphDefinition:
        return GraphDefinition(
            name,
            Function(network, 'attend_memory', pooled=pooled),
            {
                'features': features,
                'memories': torch.zeros(objects, slots, spec.memory_tokens, spec.memory_dim),
                'temporal_index': torch.zeros(objects, slots, dtype=torch.int64),
                'memory_valid': torch.ones(objects, slots),
                'pointers': torch.zeros(objects, spec.pointer_slots, spec.dim),
                'pointer_valid': torch.ones(objects, spec.pointer_slots),
            },
            ('conditioned',),
            (
                'memories',
                'temporal_index',
                'memory_valid',
                'pointers',
                'pointer_valid',
                'conditioned',
            ),
            fold=False,
        )

    yield memory_attention('memory_attention', spec.slots, spec.pooled)
    if spec.pooled:
        yield memory_attention(SINGLE_MEMORY, 1, False)
    yield GraphDefinition(
        'mask_decoder',
        Function(network, 'decode_masks'),
        {
            'features': features.repeat(objects, 1, 1, 1),
            'points': torch.zeros(objects, spec.point_tokens, 2),
            'labels': torch.zeros(objects, spec.point_tokens, dtype=torch.int64),
            'mask': torch.zeros(objects, 1, mask, mask),
            'has_mask': torch.zeros(objects),
            **finer,
        },
        ('masks', 'ious', 'scores', 'object_pointers'),
        (
            'features',
            'points',
            'labels',
            'mask',
            'has_mask',
            'masks',
            'ious',
            'scores',
            'object_pointers',
        ),
    )
    yield GraphDefinition(
        'memory_encoder',
        StoredMemory(network, 'encode_memory'),
        {
            'features': features,
            'masks': torch.zeros(objects, 1, mask, mask),
            'prompted': torch.zeros(objects),
        },
        ('memory',),
        ('masks', 'prompted', 'memory'),
    )


def export_graph(graph: GraphDefinition, folder: Path) -> None:
    """Write one graph in every precision and check it.

    Args:
        graph: of a network whose precision is marked.
        folder: for the files.
    """
    marked = trace(graph)
    collect_constants(marked)
    rearrange_constants(marked)
    share_constants(marked)
    for precision, model in (('fp32', without_marks(marked)), ('fp16', in_half_precision(marked))):
        halve_constants(model)
        del model.graph.value_info[:]  # follows from the rest
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / file_name(graph.name, precision))


def trace(graph: GraphDefinition) -> onnx.ModelProto:
    """Trace a graph in single precision, with the marks of `tam_ros.export.precision`."""
    file = io.BytesIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        torch.inference_mode(),
    ):
        # The exporter warns of its own deprecation and of every constant that it traces.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            file,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: {0: OBJECTS} for name in graph.per_object},
            dynamo=False,
            do_constant_folding=graph.fold,
            custom_opsets={DOMAIN: 1},
        )
        results = graph.module(*graph.inputs.values())
    model = onnx.load_from_string(file.getvalue())
    results = results if isinstance(results, tuple) else (results,)
    for value, result in zip(model.graph.output, results, strict=True):
        shape = list(result.shape)
        if value.name in graph.per_object:
            shape[0] = OBJECTS
        value.CopyFrom(
            onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)
        )
    return model


def collect_constants(model: onnx.ModelProto) -> None:
    """Make initializers of the nodes that give constants."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == 'Constant']:
        value = next(a.t for a in node.attribute if a.name == 'value')
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def rearrange_constants(model: onnx.ModelProto) -> None:
    """Do once what every run would do to weights: transpose and reshape them, and no more.

    The exporter does that itself, but only together with writing out tables (`fold`).
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type not in REARRANGING or any(name not in constants for name in node.input):
            continue
        one = onnx.helper.make_graph(
            [node],
            'one',
            [],
            [onnx.helper.make_empty_tensor_value_info(node.output[0])],
            [constants[name] for name in node.input],
        )
        (result,) = ReferenceEvaluator(
            onnx.helper.make_model(one, opset_imports=[onnx.helper.make_opsetid('', OPSET)])
        ).run(None, {})
        constants[node.output[0]] = onnx.numpy_helper.from_array(
            np.ascontiguousarray(result), node.output[0]
        )
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)


def share_constants(model: onnx.ModelProto) -> None:
    """Hold equal constants once: the exporter writes the rotary tables anew at every use."""
    graph = model.graph
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    for tensor in list(graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        name = kept.setdefault((tensor.data_type, array.shape, array.tobytes()), tensor.name)
        if name != tensor.name:
            renamed[tensor.name] = name
            graph.initializer.remove(tensor)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def halve_constants(model: onnx.ModelProto) -> None:
    """Hold constants in half precision where that loses nothing, with a cast back.

    Weights that were published in half precision then take half the space; every runtime folds
    the cast away when it loads the graph.
    """
    graph = model.graph
    for tensor in list(graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < HALVED_FROM:
            continue
        with np.errstate(over='ignore'):
            half = array.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), array):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f'{name}.half'))
        graph.node.insert(
            0, onnx.helper.make_node('Cast', [f'{name}.half'], [name], to=onnx.TensorProto.FLOAT)
        )


def export_model(entry: catalogue.Model, weights: Path | str, folder: Path) -> Path:
    """Export all graphs of a model.

    The folder appears only when it is complete, so that an interrupted export leaves nothing
    that looks like a result.

    Args:
        entry: of the catalogue.
        weights: a checkpoint, or `'untrained'`.
        folder: to create; replaced if it exists.

    Returns:
        The folder.
    """
    network = build_network(entry, weights)
    fuse(network)
    mark(network)
    spec = describe(entry, weights, network)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=folder.parent) as scratch:
        draft = Path(scratch) / 'graphs'
        draft.mkdir()
        for graph in definitions(network, spec):
            export_graph(graph, draft)
        (draft / DESCRIPTION).write_text(spec.to_json() + '\n', encoding='utf-8')
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    return folder
