# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ONNX files in a folder of exported graphs, checked before a library reads them.

A file must be the graph that `model.json` describes, with all of its tensors inside and without
damaged numbers. `SHA256SUMS` beside it, which `sha256sum -c` reads as well, has the hash of each
file as it was exported. A folder of older versions lacks it, and a graph that was replaced on
purpose is taken out of it by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tam_ros.model_files import (
    DESCRIPTION,
    GRAPH_PRECISIONS,
    TRACKER,
    TensorSpec,
    WeightsError,
    file_name,
    read_spec,
)
from tam_ros.onnx_file import MAX_BYTES, Port, check_numbers, read_ports
from tam_ros.reading import reading
from tam_ros.regular_file import read_regular

CHECKSUMS = 'SHA256SUMS'
_MAX_CHECKSUMS = 1 << 16  # bytes


def read_graph(folder: Path, graph: str, precision: str) -> bytes:
    """Read the ONNX file of a graph; what is returned is what was checked.

    Raises:
        ValueError: the precision is unknown.
        KeyError: the description has no such graph.
        WeightsError: the file is missing or damaged, refers to other files, or is another graph.
    """
    if precision not in GRAPH_PRECISIONS:
        raise ValueError(
            f'there are no graphs in {precision!r}; choose one of {", ".join(GRAPH_PRECISIONS)}'
        )
    path = folder / file_name(graph, precision)
    if not path.exists():
        raise WeightsError(
            f'{folder} contains no {path.name}; export the graphs into a new folder with '
            '`tam export MODEL --weights CHECKPOINT --out FOLDER` (needs torch), and give that as '
            'weights'
        )
    spec = read_spec(folder)
    expected = spec.graph(graph)
    with reading(path, WeightsError, 'a graph'):
        data = read_regular(path, MAX_BYTES)
        ports = read_ports(data)
        _compare(path, graph, 'inputs', expected.inputs, ports.inputs)
        _compare(path, graph, 'outputs', expected.outputs, ports.outputs)
        # Other kinds of models may hide keys of an attention by adding minus infinity.
        check_numbers(data, infinities=spec.kind != TRACKER)
        known = _checksums(folder).get(path.name)
        if known is not None and hashlib.sha256(data).hexdigest() != known:
            raise WeightsError(
                f'{path} is damaged, or was replaced: its SHA-256 is not that in {CHECKSUMS}. '
                'Export the graphs again; if it was replaced on purpose, remove its line there'
            )
    return data


def graph_file(folder: Path, graph: str, precision: str) -> Path:
    """Return the path of a graph's file, after the checks of `read_graph`.

    For what is read by another process.
    """
    read_graph(folder, graph, precision)
    return folder / file_name(graph, precision)


def write_checksums(folder: Path) -> None:
    """Write the hashes of the ONNX files of a folder."""
    lines = [
        f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n'
        for path in sorted(folder.glob('*.onnx'))
    ]
    (folder / CHECKSUMS).write_text(''.join(lines), encoding='utf-8')


def _compare(
    path: Path, graph: str, side: str, tensors: Sequence[TensorSpec], found: Mapping[str, Port]
) -> None:
    """Compare the inputs or outputs of a file with those of the description."""
    if {tensor.name for tensor in tensors} != found.keys():
        raise WeightsError(
            f'{path} is another graph than {graph}: its {side} are '
            f'{", ".join(found)[:200] or "none"}'
        )
    for tensor in tensors:
        port = found[tensor.name]
        shape = (None, *tensor.shape) if tensor.batched else tensor.shape
        # A size that either of them leaves open agrees with every size.
        agree = len(shape) == len(port.shape) and all(
            a == b or None in (a, b) for a, b in zip(shape, port.shape, strict=True)
        )
        if port.dtype != tensor.dtype or not agree:
            raise WeightsError(
                f'{path} does not belong to {DESCRIPTION}: {tensor.name} is {port.dtype} '
                f'{list(port.shape)[:8]}, not {tensor.dtype} {list(shape)}'
            )


def _checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    with reading(path, WeightsError, 'a list of checksums'):
        lines = read_regular(path, _MAX_CHECKSUMS).decode().splitlines()
        pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
        # sha256sum writes a star before the name of a file that it read as binary.
        return {name.removeprefix('*'): digest for digest, name in pairs}
