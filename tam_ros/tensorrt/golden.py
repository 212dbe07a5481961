# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Golden inputs of a model's graphs, and what ONNX Runtime computes from them in single precision.

Golden inputs follow a recipe for each kind of model. For a tracker a drawn image is encoded, an
object in it is prompted with a box and a mask, stored in memory, and segmented again: the graphs
get numbers of the size they get on a robot, whereas noise would not reveal an overflow. The graphs
of other kinds get deterministic random inputs, and the outputs of earlier graphs where the names
match.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.graph_files import read_graph
from tam_ros.model_files import (
    ABSENT,
    HIGH_RESOLUTION,
    PADDING,
    SINGLE_MEMORY,
    GraphSpec,
    ModelSpec,
    TensorSpec,
    TrackerSpec,
)
from tam_ros.runtime.base import Arrays
from tam_ros.tensorrt.engine_cache import (
    EngineCache,
    UntrustedError,
    read_trusted,
    write_private,
)

_log = logging.getLogger(__name__)

FORMAT = 1  # of the file of reference outputs and of the recipes
# Further reference runs of a tracker's mask decoder, besides those named after graphs: with the
# prompt, and with features that are conditioned on a single memory.
PROMPTED, AFTER_ONE = 'prompted', 'after_one'
CENTRE, RADIUS = (0.45, 0.5), 0.18  # of the drawn disc, in widths of the image
MEMORIES = 3  # stored memories, all alike
TEMPORAL = (6, 0, 1)  # their temporal indices: a prompted frame, and the two last frames


class Golden(NamedTuple):
    """One run of a graph in single precision.

    Attributes:
        inputs: by name, for a batch of one.
        outputs: by name, float32.
    """

    inputs: Arrays
    outputs: Arrays


RunGraph = Callable[[str, Arrays], Arrays]
"""Runs a graph of a model, given its name and inputs; returns its outputs."""


# --- golden inputs ---


def golden_runs(spec: ModelSpec, run: RunGraph) -> dict[str, Golden]:
    """Run every graph of a model on golden inputs.

    Args:
        spec: spec of the model.
        run: runs a graph.

    Returns:
        By graph. For a tracker there are `PROMPTED` and, if it pools, `AFTER_ONE` as well.
    """
    if isinstance(spec, TrackerSpec):
        return _track_a_disc(spec, run)
    found: dict[str, Golden] = {}
    outputs: Arrays = {}
    for graph in spec.graphs:
        inputs = random_inputs(graph) | _matching(graph, outputs)
        found[graph.name] = Golden(inputs, run(graph.name, inputs))
        outputs |= found[graph.name].outputs
    return found


def random_inputs(graph: GraphSpec) -> Arrays:
    """Return deterministic inputs for a batch of one.

    Floats are normally distributed, except for an image, which is drawn; bytes are uniformly
    distributed; other integers, which may be indices, are 0 or 1.
    """
    return {tensor.name: _random(graph, tensor) for tensor in graph.inputs}


def _random(graph: GraphSpec, tensor: TensorSpec) -> NDArray[Any]:
    rng = np.random.default_rng(zlib.crc32(f'{graph.name}/{tensor.name}'.encode()))
    shape, dtype = tensor.full_shape(1), np.dtype(tensor.dtype)
    if dtype.kind == 'f' and tensor.name == 'image' and shape == (1, shape[1], shape[1], 3):
        return draw_image(shape[1])[None].astype(dtype)  # of a detector, from 0 to 255
    if dtype.kind == 'f':
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _matching(graph: GraphSpec, outputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the outputs of earlier graphs that are inputs of this one by name, type and shape."""
    return {
        tensor.name: outputs[tensor.name]
        for tensor in graph.inputs
        if tensor.name in outputs
        and outputs[tensor.name].dtype == tensor.dtype
        and outputs[tensor.name].shape == tensor.full_shape(1)
    }


def _track_a_disc(spec: TrackerSpec, run_graph: RunGraph) -> dict[str, Golden]:
    found: dict[str, Golden] = {}

    def run(graph: str, **inputs: NDArray[Any]) -> Arrays:
        outputs = run_graph(graph, inputs)
        found[graph] = Golden(inputs, outputs)
        return outputs

    encoded = run('image_encoder', image=draw_image(spec.image_size)[None])
    features = encoded['features']
    finer = {name: encoded[name] for name in HIGH_RESOLUTION if name in encoded}
    corners = np.array([CENTRE, CENTRE]) + [[-RADIUS], [RADIUS]]
    box = (corners * spec.image_size).astype(np.float32)
    prompt = _prompt(spec, [2, 3, PADDING], box) | {
        'mask': np.where(_disc(spec.mask_size)[0], 10, -10).astype(np.float32)[None, None],
        'has_mask': np.ones(1, np.float32),
    }
    first = run('mask_decoder', features=encoded['features_without_memory'], **prompt, **finer)
    found[PROMPTED] = found['mask_decoder']
    best = int(first['ious'][0].argmax())
    memory = run(
        'memory_encoder',
        features=features,
        masks=first['masks'][:, best : best + 1],
        prompted=np.ones(1, np.float32),
    )['memory']
    pointer = first['object_pointers'][:, best]
    no_prompt = _prompt(spec, [PADDING, PADDING], np.zeros((0, 2), np.float32))
    if SINGLE_MEMORY in spec.graph_names:
        conditioned = run(SINGLE_MEMORY, features=features, **_bank(spec, memory, pointer, 1, 1))[
            'conditioned'
        ]
        run('mask_decoder', features=conditioned, **no_prompt, **finer)
        found[AFTER_ONE] = found['mask_decoder']
    conditioned = run(
        'memory_attention', features=features, **_bank(spec, memory, pointer, spec.slots, MEMORIES)
    )['conditioned']
    # As on nearly every frame: no prompt, features conditioned on the object's memories.
    run('mask_decoder', features=conditioned, **no_prompt, **finer)
    return found


def draw_image(size: int) -> NDArray[np.uint8]:
    """Draw a patterned disc on a patterned background, uint8 [size, size, 3]."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:size, :size] / size
    inside, radius = _disc(size)
    background = np.stack([x, y, 1 - x], -1) * 120 + 40
    background += 25 * np.sin(40 * x + 20 * y)[..., None]
    disc = np.stack([200 + 40 * np.cos(60 * radius), 70 + 0 * x, 50 + 60 * np.sin(30 * y)], -1)
    drawn = np.where(inside[..., None], disc, background) + rng.normal(0, 4, (size, size, 3))
    return drawn.clip(0, 255).astype(np.uint8)


def _disc(size: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the mask of the disc, and the distance from its centre in widths of the image."""
    y, x = np.mgrid[:size, :size] / size
    radius = np.hypot(x - CENTRE[0], y - CENTRE[1])
    return radius < RADIUS, radius


def _prompt(spec: TrackerSpec, labels: list[int], points: NDArray[np.float32]) -> Arrays:
    xy = np.zeros((1, spec.point_tokens, 2), np.float32)
    xy[0, : len(points)] = points
    kinds = np.full((1, spec.point_tokens), ABSENT, np.int64)
    kinds[0, : len(labels)] = labels
    size = spec.mask_size
    return {
        'points': xy,
        'labels': kinds,
        'mask': np.zeros((1, 1, size, size), np.float32),
        'has_mask': np.zeros(1, np.float32),
    }


def _bank(
    spec: TrackerSpec, memory: NDArray[Any], pointer: NDArray[Any], slots: int, valid: int
) -> Arrays:
    pointers = np.zeros((1, spec.pointer_slots, spec.dim), np.float32)
    pointers[:, :valid] = pointer[:, None]
    memories = np.zeros((1, slots, *memory.shape[1:]), memory.dtype)
    memories[:, :valid] = memory[:, None]
    temporal = np.zeros((1, slots), np.int64)
    temporal[0, :valid] = TEMPORAL[:valid]
    return {
        'memories': memories,
        'temporal_index': temporal,
        'memory_valid': (np.arange(slots) < valid).astype(np.float32)[None],
        'pointers': pointers,
        'pointer_valid': (np.arange(spec.pointer_slots) < valid).astype(np.float32)[None],
    }


# --- reference outputs ---


def compute_references(folder: Path, spec: ModelSpec) -> dict[str, Golden]:
    """Run the graphs of a folder with ONNX Runtime.

    Takes seconds; for a tracker at 1024 pixels a minute.

    Raises:
        WeightsError: a graph is missing or damaged.
    """
    from tam_ros.runtime.onnxruntime import OnnxRuntimeSession

    def run(graph: str, inputs: Arrays) -> Arrays:
        # One session at a time: a robot's memory is too small for two and an engine build.
        model = read_graph(folder, graph, 'fp32')
        with OnnxRuntimeSession(model, f'{graph} in {folder}', shared_memory=False) as session:
            return session.run(inputs)

    return golden_runs(spec, run)


def cached_references(cache: EngineCache, folder: Path, spec: ModelSpec) -> Path:
    """Return the file of the reference outputs of a folder; computes them if necessary.

    Raises:
        WeightsError: a graph is missing or damaged.
    """
    key = hashlib.sha256(f'{FORMAT}'.encode())
    for graph in spec.graph_names:
        key.update(read_graph(folder, graph, 'fp32'))
    path = cache.folder(cache.root / spec.name) / f'golden-{key.hexdigest()[:16]}.npz'
    try:
        load_references(path)
    except (OSError, ValueError, UntrustedError):
        _log.info('computing reference outputs of %s with ONNX Runtime', spec.name)
        arrays = {
            f'{graph}/{kind}/{name}': array
            for graph, golden in compute_references(folder, spec).items()
            for kind, group in golden._asdict().items()
            for name, array in group.items()
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_private(path, buffer.getvalue())
    return path


def load_references(path: Path) -> dict[str, Golden]:
    """Read a file that `cached_references` wrote.

    Raises:
        OSError, ValueError, UntrustedError: it cannot be read.
    """
    found: dict[str, Golden] = {}
    try:
        with np.load(io.BytesIO(read_trusted(path))) as arrays:
            for key in arrays.files:
                graph, kind, name = key.split('/')
                golden = found.setdefault(graph, Golden({}, {}))
                getattr(golden, kind)[name] = arrays[key]
    except (OSError, UntrustedError):
        raise
    except Exception as error:  # a damaged archive can cause many kinds of error
        raise ValueError(f'{path} cannot be read: {error}') from error
    return found
