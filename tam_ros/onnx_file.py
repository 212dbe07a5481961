# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file says about itself, read without the package onnx, which robots do not have.

A tensor of a graph can be stored in another file, at a path that the graph contains. Libraries
have read such files outside the folder of the graph, and their bytes are not part of the hash of
the graph. All tensors are therefore required to be inside the file.

The file is one protobuf message, whose fields are numbered in
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the encoding is described in
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tam_ros.reading import InputError

MAX_BYTES = (1 << 31) - 1
"""Largest file: protobuf does not read larger messages."""

# Messages that contain tensors, and the fields that lead to them.
_CHILDREN = {
    'ModelProto': {7: 'GraphProto', 20: 'TrainingInfoProto', 25: 'FunctionProto'},
    'TrainingInfoProto': {1: 'GraphProto', 2: 'GraphProto'},
    'FunctionProto': {7: 'NodeProto', 11: 'AttributeProto'},
    'GraphProto': {1: 'NodeProto', 5: 'TensorProto', 15: 'SparseTensorProto'},
    'NodeProto': {5: 'AttributeProto'},
    'AttributeProto': {
        5: 'TensorProto',
        6: 'GraphProto',
        10: 'TensorProto',
        11: 'GraphProto',
        22: 'SparseTensorProto',
        23: 'SparseTensorProto',
    },
    'SparseTensorProto': {1: 'TensorProto', 2: 'TensorProto'},
}
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA = 2, 4, 9, 10
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

_FLOAT, _UINT8 = 1, 2
_DTYPES = {
    1: 'float32',
    2: 'uint8',
    3: 'int8',
    4: 'uint16',
    5: 'int16',
    6: 'int32',
    7: 'int64',
    9: 'bool',
    10: 'float16',
    11: 'float64',
    12: 'uint32',
    13: 'uint64',
    16: 'bfloat16',
}


class OnnxFileError(InputError, ValueError):
    """The bytes are not an ONNX model, or one that may not be used; the message says why."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        dtype: numpy name of its elements, `bfloat16`, or the number of another type.
        shape: None for the sizes that the file leaves open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass
class Ports:
    """The inputs and outputs of a model, by name."""

    inputs: dict[str, Port] = field(default_factory=dict)
    outputs: dict[str, Port] = field(default_factory=dict)


def read_ports(data: bytes) -> Ports:
    """Return the inputs and outputs of a model whose tensors are all in the file.

    Args:
        data: the file.

    Raises:
        OnnxFileError: it is not an ONNX model, or a tensor is stored in another file.
    """
    _refuse_external(data)
    ports, initializers = Ports(), set()
    for number, start, end in _messages(data, 0, len(data)):
        if number != _GRAPH:
            continue
        for part, first, last in _messages(data, start, end):
            if part == _INPUT:
                port = _port(data, first, last)
                ports.inputs[port.name] = port
            elif part == _OUTPUT:
                port = _port(data, first, last)
                ports.outputs[port.name] = port
            elif part == _INITIALIZER:
                initializers.add(_text(data, first, last, _TENSOR_NAME))
    # Until version 3 of the format, stored tensors were listed as inputs as well.
    for name in initializers:
        ports.inputs.pop(name, None)
    return ports


def with_float_input(data: bytes, name: str) -> bytes:
    """Return a model in which an input of the type uint8 has the type float32.

    Such a model gives the same for whole numbers and takes those in between as well, provided that
    the graph converts the input before it does anything else with it.

    Args:
        data: the file.
        name: name of the input.

    Raises:
        OnnxFileError: it is not an ONNX model, or has no such input of that type.
    """
    patched = bytearray(data)
    found = 0
    for number, start, end in _messages(data, 0, len(data)):
        for part, first, last in _messages(data, start, end) if number == _GRAPH else ():
            if part != _INPUT or _text(data, first, last, 1) != name:
                continue
            for position in _type_positions(data, first, last):
                if data[position] == _UINT8:  # a number below 128 is one byte
                    patched[position] = _FLOAT
                    found += 1
    if found != 1:
        raise OnnxFileError(f'it has no input {name[:60]!r} of the type uint8')
    return bytes(patched)


def _type_positions(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yield where the element type of a ValueInfoProto is, see `_port`: its last byte."""
    for number, first, last in _messages(data, start, end):
        for kind, inner, outer in _messages(data, first, last) if number == 2 else ():
            for part, wire, _, after in _fields(data, inner, outer) if kind == 1 else ():
                if part == 1 and wire == _VARINT:
                    yield after - 1


def check_numbers(data: bytes, infinities: bool) -> None:
    """Check that the stored numbers of a model are not damaged.

    Numbers of 32 or 64 bits that were written one by one are checked as well as raw ones; for
    half precision the format has only the raw form in use.

    Args:
        data: the file.
        infinities: whether infinite numbers are allowed.

    Raises:
        OnnxFileError: a tensor contains numbers that are not finite; the message gives its name.
    """
    for start, end in _tensors(data):
        kind = ''
        parts = []
        for number, wire, first, last in _fields(data, start, end):
            if number == _DATA_TYPE and wire == _VARINT:
                kind = _DTYPES.get(first, '')
            elif number in (_FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA) and wire == _LENGTH:
                parts.append((number, first, last))
        for number, first, last in parts:
            dtype = {_FLOAT_DATA: 'float32', _DOUBLE_DATA: 'float64'}.get(number, kind)
            if not _is_sound(data[first:last], dtype, infinities):
                name = _text(data, start, end, _TENSOR_NAME)
                raise OnnxFileError(
                    f'it is damaged: its tensor {name[:60]!r} contains numbers that are not finite'
                )


def _is_sound(raw: bytes, dtype: str, infinities: bool) -> bool:
    import numpy as np  # takes a while, and commands that read no graph start without it

    if dtype == 'bfloat16':  # the upper half of float32
        numbers = (np.frombuffer(raw[: len(raw) // 2 * 2], '<u2').astype(np.uint32) << 16).view(
            np.float32
        )
    elif dtype in ('float16', 'float32', 'float64'):
        kind = np.dtype(dtype).newbyteorder('<')
        numbers = np.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], kind)
    else:
        return True
    sound = ~np.isnan(numbers) if infinities else np.isfinite(numbers)
    return bool(sound.all())


def _refuse_external(data: bytes) -> None:
    for start, end in _tensors(data):
        for number, wire, first, _ in _fields(data, start, end):
            # The location is 0 for a tensor in the file, which is the default.
            elsewhere = number == _DATA_LOCATION and wire == _VARINT and first != 0
            if elsewhere or (number == _EXTERNAL_DATA and wire == _LENGTH):
                name = _text(data, start, end, _TENSOR_NAME)
                raise OnnxFileError(
                    f'its tensor {name[:60]!r} is stored in another file, which is not '
                    'allowed; export the graph with all tensors inside'
                )


def _tensors(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of every TensorProto, wherever it is."""
    waiting = [('ModelProto', 0, len(data))]
    while waiting:  # not recursive: the depth is the file's choice
        kind, start, end = waiting.pop()
        if kind == 'TensorProto':
            yield start, end
            continue
        children = _CHILDREN.get(kind, {})
        for number, wire, first, last in _fields(data, start, end):
            if number in children and wire == _LENGTH:
                waiting.append((children[number], first, last))


def _port(data: bytes, start: int, end: int) -> Port:
    """Read a ValueInfoProto: name = 1, type = 2, in it tensor_type = 1."""
    dtype, shape = '', []
    for number, first, last in _messages(data, start, end):
        if number != 2:
            continue
        for kind, inner, outer in _messages(data, first, last):
            if kind != 1:
                continue
            for part, wire, a, b in _fields(data, inner, outer):
                if part == 1 and wire == _VARINT:  # elem_type
                    dtype = _DTYPES.get(a, str(a))
                elif part == 2 and wire == _LENGTH:  # shape; its dimensions have the number 1
                    shape = [_size(data, x, y) for n, x, y in _messages(data, a, b) if n == 1]
    return Port(_text(data, start, end, 1), dtype, tuple(shape))


def _size(data: bytes, start: int, end: int) -> int | None:
    for number, wire, value, _ in _fields(data, start, end):
        if number == 1 and wire == _VARINT:
            return value
    return None


def _text(data: bytes, start: int, end: int, wanted: int) -> str:
    text = b''
    for number, first, last in _messages(data, start, end):
        if number == wanted:
            text = data[first:last]
    return text.decode('utf-8', 'replace')


def _messages(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, start and end of the fields that are messages, texts or bytes."""
    for number, wire, first, last in _fields(data, start, end):
        if wire == _LENGTH:
            yield number, first, last


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message.

    Yields:
        Number, wire type, and the start and end of the value; of a varint its value and end.
    """
    position = start
    while position < end:
        tag, position = _varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >> 32:
            raise OnnxFileError('it is not an ONNX file, or damaged')
        if wire == _VARINT:
            value, position = _varint(data, position, end)
            yield number, wire, value, position
            continue
        if wire == _LENGTH:
            size, position = _varint(data, position, end)
        elif wire == _FIXED32:
            size = 4
        elif wire == _FIXED64:
            size = 8
        else:
            raise OnnxFileError('it is not an ONNX file, or damaged')
        if size > end - position:
            raise OnnxFileError('it is not an ONNX file, or damaged: it ends too early')
        yield number, wire, position, position + size
        position += size


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits per byte, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise OnnxFileError('it is not an ONNX file, or damaged: it ends too early')
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise OnnxFileError('it is not an ONNX file, or damaged')
