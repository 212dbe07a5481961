"""A graph of one precision that fits between neighbours of another."""

from __future__ import annotations

from tam_ros.runtime.base import EngineError


def with_types_of(graph: bytes, neighbour: bytes) -> bytes:
    """Give the inputs and outputs of a graph the types that the same graph has in another file.

    Casts go behind inputs and before outputs; nothing else changes. It is done here and not in
    TensorRT's network, where a new cast comes behind all other layers: builds fail on one of an
    input whose number of objects is open (seen with TensorRT for RTX 1.7).

    Args:
        graph: an ONNX model.
        neighbour: the same model in another precision.

    Returns:
        The model with the types of ``neighbour``.

    Raises:
        EngineError: the onnx package is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise EngineError('onnx is needed to fit a graph of one precision between others: `pip '
                          'install onnx`, or build everything with --precision fp32') from error
    model = onnx.load_model_from_string(graph)
    wanted = onnx.load_model_from_string(neighbour).graph
    nodes = model.graph.node
    for ours, theirs in ((model.graph.input, wanted.input), (model.graph.output, wanted.output)):
        kinds = {value.name: value.type.tensor_type.elem_type for value in theirs}
        for value in ours:
            name, kind = value.name, value.type.tensor_type.elem_type
            if kinds[name] == kind:
                continue
            inner = f'{name}.{onnx.TensorProto.DataType.Name(kind).lower()}'
            is_input = ours is model.graph.input
            for node in nodes:
                for names in ((node.input,) if is_input else (node.input, node.output)):
                    names[:] = [inner if one == name else one for one in names]
            source, target, place = (name, inner, 0) if is_input else (inner, name, len(nodes))
            nodes.insert(place, onnx.helper.make_node(
                'Cast', [source], [target], to=kind if is_input else kinds[name]))
            value.type.tensor_type.elem_type = kinds[name]
    onnx.checker.check_model(model)
    return model.SerializeToString()
