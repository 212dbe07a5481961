# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The graphs of a network as ONNX files, in single and in half precision.

Opset 17. All shapes are static except for the batch, and no shape is computed at run time.
Attention is MatMul-Softmax-MatMul, and equal constants, such as rotary tables, are stored once.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.export.half_precision import (
    DOMAIN,
    in_half_precision,
    is_marked,
    mark,
    without_marks,
)
from tam_ros.graph_files import write_checksums
from tam_ros.model_files import DESCRIPTION, GraphSpec, file_name
from tam_ros.models.build import build_network, describe, family_of

OPSET = 17
HALVED_FROM = 128  # elements; with fewer, the cast takes as much space as it saves
REARRANGING = ('Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze')
BATCH = 'objects'  # name of the dynamic dimension


def export_graph(graph: GraphSpec, module: nn.Module, folder: Path) -> None:
    """Write one graph in every precision and check it.

    Args:
        graph: names its inputs and outputs, with their types and shapes.
        module: computes it; part of a network whose precisions are marked.
        folder: folder for the files.
    """
    marked = trace(graph, module)
    collect_constants(marked)
    rearrange_constants(marked)
    share_constants(marked)
    for precision, model in (
        ('fp32', without_marks(marked)),
        ('fp16', in_half_precision(marked)),
    ):
        halve_constants(model)
        del model.graph.value_info[:]  # follows from the rest
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / file_name(graph.name, precision))


def example_inputs(graph: GraphSpec) -> tuple[Tensor, ...]:
    """Return inputs for a batch of two, all zeros."""
    return tuple(
        torch.zeros(tensor.full_shape(2), dtype=getattr(torch, tensor.dtype))
        for tensor in graph.inputs
    )


def trace(graph: GraphSpec, module: nn.Module) -> onnx.ModelProto:
    """Trace a graph in single precision, with the marks of `tam_ros.export.half_precision`."""
    for part in module.modules():
        # The exporter keeps only the tensors of the state_dict as initializers. Of others it would
        # write results, such as whole position maps, instead of the small tensors they come from.
        part._non_persistent_buffers_set.clear()
    inputs = example_inputs(graph)
    batched = [tensor.name for tensor in (*graph.inputs, *graph.outputs) if tensor.batched]
    file = io.BytesIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        torch.inference_mode(),
    ):
        # The exporter warns about its own deprecation and about every constant that it traces.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            inputs,
            file,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            dynamic_axes={name: {0: BATCH} for name in batched},
            dynamo=False,
            do_constant_folding=graph.fold_constants,
            custom_opsets={DOMAIN: 1} if is_marked(module) else None,
        )
    model = onnx.load_from_string(file.getvalue())
    for value, tensor in zip(model.graph.output, graph.outputs, strict=True):
        shape: list[str | int] = [BATCH, *tensor.shape] if tensor.batched else [*tensor.shape]
        value.CopyFrom(
            onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)
        )
    return model


def collect_constants(model: onnx.ModelProto) -> None:
    """Replace Constant nodes by initializers."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == 'Constant']:
        value = next(a.t for a in node.attribute if a.name == 'value')
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def rearrange_constants(model: onnx.ModelProto) -> None:
    """Transpose and reshape the weights in the file instead of in every run.

    The exporter's constant folding does that too, but also writes large tables into the file
    (`GraphSpec.fold_constants`).
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
    """Store equal constants once: the exporter writes the rotary tables again for every use."""
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
    """Store constants in half precision where that is lossless, and cast them back.

    Weights that were published in half precision then take half the space. Every runtime folds
    the cast when it loads the graph.
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

    The folder appears when it is complete: an interrupted export leaves nothing, and another
    process never sees a part of the graphs.

    Args:
        entry: catalogue entry.
        weights: a checkpoint, or `'untrained'`.
        folder: folder to create; it may exist if it is empty. Nothing is ever removed from it.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists and is not empty, or a file has its name.
        WeightsError: the checkpoint is missing, damaged or of another model.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f'{folder} exists and is not an empty folder; choose another name')
    family = family_of(entry)
    network = build_network(entry, weights)
    family.fuse(network)
    mark(network, family.half_precision)
    spec = describe(entry, weights, network)
    modules = family.graph_modules(network, spec)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=folder.parent) as scratch:
        draft = Path(scratch) / 'graphs'
        draft.mkdir()
        for graph in spec.graphs:
            export_graph(graph, modules[graph.name], draft)
        (draft / DESCRIPTION).write_text(spec.to_json() + '\n', encoding='utf-8')
        write_checksums(draft)
        draft.rename(folder)  # replaces an empty folder, and fails on any other
    return folder
