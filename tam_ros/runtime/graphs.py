# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A folder of exported graphs: ONNX files and `model.json`, which describes them.

Each graph is there in single precision and, unless the folder is the bundled one, in half.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tam_ros import catalogue
from tam_ros.runtime.base import ModelSpec, WeightsError

DESCRIPTION = 'model.json'
FORMAT = 3  # of the folder and of the graphs' inputs and outputs; part of the cache key
GRAPHS = ('image_encoder', 'memory_attention', 'mask_decoder', 'memory_encoder')
# Further outputs of the image encoder and inputs of the mask decoder, where a model has them.
HIGH_RESOLUTION = ('stride_8', 'stride_4')
# Pooled models attend exactly to a single memory: a graph of one slot, beside the four.
SINGLE_MEMORY = 'memory_attention_single'
# Of what a graph computes inside. Inputs and outputs are float32 in both.
PRECISIONS = {'fp32': 'float32', 'fp16': 'float16'}


def graph_names(spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of all graphs of a model."""
    return GRAPHS + ((SINGLE_MEMORY,) if spec.pooled else ())


def file_name(graph: str, precision: str) -> str:
    """Return the name of the file of a graph."""
    return f'{graph}_{precision}.onnx'


def graph_file(folder: Path, graph: str, precision: str) -> Path:
    """Return the file of a graph in a folder.

    Raises:
        ValueError: no such precision.
        WeightsError: it is not there.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'no precision {precision!r}; one of {", ".join(PRECISIONS)}')
    path = folder / file_name(graph, precision)
    if not path.is_file():
        raise WeightsError(
            f'{folder} holds no {path.name}; export the graphs into a new folder with '
            '`tam export MODEL --weights CHECKPOINT --out FOLDER` (needs torch), and give that as '
            'weights'
        )
    return path


def sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def graphs_of(entry: catalogue.Model, weights: Path | str) -> Path:
    """Return a folder of graphs, exporting a checkpoint into the cache if it was not yet.

    Args:
        entry: the model.
        weights: of `tam_ros.runtime.factory.find_weights`.

    Raises:
        WeightsError: no graphs in the folder, or a checkpoint cannot be exported here.
    """
    if isinstance(weights, Path) and weights.is_dir():
        if not (weights / DESCRIPTION).is_file():
            raise WeightsError(f'{weights} holds no {DESCRIPTION}: it is no folder of graphs')
        return weights
    identity = sha256(weights) if isinstance(weights, Path) else weights
    key = hashlib.sha256(
        json.dumps([FORMAT, entry.name, entry.config, identity], sort_keys=True).encode()
    ).hexdigest()
    folder = catalogue.cache_dir() / 'graphs' / f'{entry.name}-{key[:16]}'
    if not (folder / DESCRIPTION).is_file():
        try:
            from tam_ros.export import export_model
        except ModuleNotFoundError as error:
            raise WeightsError(
                f'{entry.name} has no exported graphs yet and {error.name} is not installed to '
                'export them; run `tam export` where it is, and give the folder as weights'
            ) from error
        export_model(entry, weights, folder)
    return folder
