# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: which parts of a graph compute in half precision.

Half precision has 11 significant bits and a largest value of 65504. Matrix products, convolutions
and attention, which are nearly all of the work, tolerate it. These parts do not:

- Normalisation squares and sums whole rows; this is where a ViT usually overflows in half
  precision. The mean over a map in squeeze-and-excitation is such a sum too.
- Prompts are pixel coordinates up to 1024, and Fourier features take their sine.
- Output heads whose numbers decide what the tracker does: masks, their IoU, the object score, the
  pointer. They are small.

The product of queries and keys is in half precision, and so is the softmax: single precision
within the attention pattern would keep TensorRT from running it as one kernel. The rotary encoding
is in half precision as well; single precision there does not improve the result.

The parts are marked in the network with hooks that do not change its results. A graph is traced
once, in single precision; the marks become nodes of `DOMAIN`, and then casts. The types between
them follow the promotion rules of torch and numpy: constants, and values computed from constants
alone, take the type of the values they are combined with; of two types the more precise one wins.
So every value of a graph has an explicit type, which strongly typed TensorRT networks require.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tam_ros.models.family import HalfPrecision

DOMAIN = 'tam_ros'
MARK = 'Precision'
FLOAT32, FLOAT16 = 'fp32', 'fp16'


class _Mark(torch.autograd.Function):
    """The identity; becomes a node of the exported graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, precision: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def symbolic(g: Any, x: Any, precision: str) -> Any:
        return g.op(f'{DOMAIN}::{MARK}', x, to_s=precision).setType(x.type())


def _marked(values: Any, precision: str) -> Any:
    """Mark every floating-point tensor in a nested structure."""
    return tree_map_only(
        Tensor, lambda x: _Mark.apply(x, precision) if x.is_floating_point() else x, values
    )


def mark(network: nn.Module, precision: HalfPrecision) -> None:
    """Mark the precision of the parts of a network, in place; the marks cannot be removed.

    Raises:
        ValueError: a name in `halves` or `heads` matches no module.
    """
    names = [name for name, _ in network.named_modules()]
    unknown = [name for name in precision.halves if name not in names]
    unknown += [
        head for head in precision.heads if not any(name.startswith(head) for name in names)
    ]
    if unknown:
        raise ValueError(
            f'no module of {type(network).__name__} matches {", ".join(unknown)}, named in its '
            'half precision'
        )

    def inputs(module: nn.Module, kind: str) -> None:
        module.register_forward_pre_hook(lambda _, arguments: _marked(arguments, kind))

    def outputs(module: nn.Module, kind: str) -> None:
        module.register_forward_hook(lambda _, __, result: _marked(result, kind))

    for name, module in network.named_modules():
        if name in precision.halves:
            inputs(module, FLOAT16)
        elif name.startswith(precision.heads):
            inputs(module, FLOAT32)
        elif isinstance(module, precision.islands) and name.split('.')[0] in precision.halves:
            inputs(module, FLOAT32)
            outputs(module, FLOAT16)


def is_marked(network: nn.Module) -> bool:
    """Return whether anything in a network is marked."""
    return any(part._forward_pre_hooks for part in network.modules())


TYPES = {FLOAT32: TensorProto.FLOAT, FLOAT16: TensorProto.FLOAT16}
LARGEST = float(np.finfo(np.float16).max)
# These only move values, so rounding before them is the same as rounding after them.
LAYOUT = {'Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Gather', 'Slice', 'Expand'}


def without_marks(model: ModelProto) -> ModelProto:
    """Return a copy in single precision, as if nothing had been marked."""
    plain = ModelProto()
    plain.CopyFrom(model)
    _drop_domain(plain)
    graph = plain.graph
    renamed: dict[str, str] = {}
    results = {value.name for value in graph.output}
    for node in list(graph.node):
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if node.op_type != MARK:
            continue
        if node.output[0] in results:  # outputs keep their names: the marked value gets it
            for other in graph.node:
                _rename(other, node.input[0], node.output[0])
        else:
            renamed[node.output[0]] = node.input[0]
        graph.node.remove(node)
    return plain


def _rename(node: NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new


def _drop_domain(model: ModelProto) -> None:
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def in_half_precision(model: ModelProto) -> ModelProto:
    """Return a copy that computes in half precision where the marks say so.

    Inputs and outputs stay in single precision, so that graphs of both precisions can be combined.

    Raises:
        ValueError: a constant is too large for half precision.
    """
    half = ModelProto()
    half.CopyFrom(model)
    _Typing(half).run()
    _drop_domain(half)
    return half


def _elements(model: ModelProto) -> dict[str, int]:
    """Return the element type of every value of a graph with marks."""
    traced = ModelProto()
    traced.CopyFrom(model)
    _drop_domain(traced)
    for node in traced.graph.node:
        if node.op_type == MARK:
            node.CopyFrom(onnx.helper.make_node('Identity', node.input, node.output))
    graph = onnx.shape_inference.infer_shapes(traced, strict_mode=True).graph
    return {tensor.name: tensor.data_type for tensor in graph.initializer} | {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _copy(node: NodeProto, inputs: list[str], outputs: list[str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    return copy


class _Typing:
    """Assigns types to all values in one pass over the nodes of a graph, in their order."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.opset = next(o.version for o in model.opset_import if not o.domain)
        self.single = _elements(model)
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.nodes: list[NodeProto] = []
        self.types: dict[str, int] = {}  # of floating-point values that are not constant
        self.fixed = set(self.constants)  # values computed from constants alone
        self.renamed: dict[str, str] = {}
        self.casts: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        """Replace the nodes."""
        for value in self.graph.input:
            self.types[value.name] = value.type.tensor_type.elem_type
        for node in self.graph.node:
            names = [self.renamed.get(name, name) for name in node.input]
            if node.op_type == MARK:
                to = TYPES[next(a.s.decode() for a in node.attribute if a.name == 'to')]
                self._mark(names[0], node.output[0], to)
            else:
                self._node(node, names)
        for value in self.graph.output:
            self._result(value.name)
        self._keep_used()

    def _mark(self, name: str, output: str, to: int) -> None:
        if name in self.fixed:  # a constant gets its type where it is used
            self.fixed.add(output)
            self.renamed[output] = name
            return
        self.renamed[output] = self._as(name, to)

    def _node(self, node: NodeProto, names: list[str]) -> None:
        schema = onnx.defs.get_schema(node.op_type, self.opset)
        variables = {constraint.type_param_str for constraint in schema.type_constraints}
        kinds = [
            schema.inputs[min(index, len(schema.inputs) - 1)].type_str
            for index in range(len(names))
        ]
        decided: dict[str, int | None] = {}  # by type variable; None: only constants
        for kind in variables if node.op_type != 'Cast' else ():
            floats = [
                name
                for name, k in zip(names, kinds, strict=True)
                if k == kind and self._is_float(name)
            ]
            if floats:
                types = {self.types[name] for name in floats if name not in self.fixed}
                decided[kind] = (
                    None
                    if not types
                    else TensorProto.FLOAT
                    if TensorProto.FLOAT in types
                    else types.pop()
                )
        names = [
            self._as(name, to) if (to := decided.get(kind)) and self._is_float(name) else name
            for name, kind in zip(names, kinds, strict=True)
        ]
        node = _copy(node, names, list(node.output))
        self.nodes.append(node)
        for index, output in enumerate(node.output):
            kind = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
            constant = all(name in self.fixed for name in names if name)
            if kind in decided:
                constant = decided[kind] is None
            if constant:
                self.fixed.add(output)
            elif decided.get(kind) or self.single[output] in TYPES.values():
                self.types[output] = decided.get(kind) or self.single[output]

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) in TYPES.values() or (
            name in self.fixed and self.single[name] == TensorProto.FLOAT
        )

    def _as(self, name: str, to: int) -> str:
        """Return the name of a value in a type; adds a cast if necessary."""
        if name in self.fixed:
            return name if to == TensorProto.FLOAT else self._halved(name)
        return name if self.types[name] == to else self._cast(name, to)

    def _cast(self, name: str, to: int) -> str:
        if (name, to) not in self.casts:
            output = f'{name}.{"half" if to == TensorProto.FLOAT16 else "single"}'
            self.nodes.append(onnx.helper.make_node('Cast', [name], [output], to=to))
            self.types[output] = to
            self.casts[name, to] = output
        return self.casts[name, to]

    def _halved(self, name: str) -> str:
        """Return the name of a constant in half precision, converted now unless it is computed."""
        if (name, TensorProto.FLOAT16) in self.casts:
            return self.casts[name, TensorProto.FLOAT16]
        output = f'{name}.half'
        node = self.producers.get(name)
        if name in self.constants:
            array = onnx.numpy_helper.to_array(self.constants[name])
            if np.abs(array).max(initial=0) > LARGEST:
                raise ValueError(f'constant {name} is too large for half precision')
            self.graph.initializer.append(
                onnx.numpy_helper.from_array(array.astype(np.float16), output)
            )
        elif node is not None and node.op_type in LAYOUT:
            inputs = [self.renamed.get(x, x) for x in node.input]
            self.nodes.append(_copy(node, [self._halved(inputs[0]), *inputs[1:]], [output]))
        else:
            return self._cast(name, TensorProto.FLOAT16)
        self.types[output] = TensorProto.FLOAT16
        self.casts[name, TensorProto.FLOAT16] = output
        return output

    def _result(self, name: str) -> None:
        """Cast an output of the graph to its original type."""
        source, to = self.renamed.get(name, name), self.single[name]
        if source == name and self.types[name] != to:
            source = f'{name}.computed'
            self.types[source] = self.types[name]
            for node in self.nodes:
                _rename(node, name, source)
        if source != name:
            if self.types[source] == to:
                node = onnx.helper.make_node('Identity', [source], [name])
            else:
                node = onnx.helper.make_node('Cast', [source], [name], to=to)
            self.nodes.append(node)

    def _keep_used(self) -> None:
        used, kept = {value.name for value in self.graph.output}, []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                kept.append(node)
                used.update(node.input)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(tensors)
