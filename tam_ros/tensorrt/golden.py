# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Inputs for each graph as they occur when an object is tracked, and what must come of them.

A drawn picture is encoded, an object in it is prompted with a box and a mask, remembered, and
looked for again; ONNX Runtime runs every graph once or more in single precision. So each graph
sees numbers of the size it will see on a robot: noise would not overflow where features do.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import (
    ABSENT,
    HIGH_RESOLUTION,
    PADDING,
    SINGLE_MEMORY,
    TrackerSpec,
    graph_file,
)
from tam_ros.tensorrt.engine_cache import PlanCache, UntrustedError, read_trusted, write_private

_log = logging.getLogger(__name__)

FORMAT = 1
PROMPTED, AFTER_ONE = 'prompted', 'after_one'
CENTRE, RADIUS = (0.45, 0.5), 0.18  # of the disc, in widths of the picture
MEMORIES = 3  # that are remembered, all the same
TEMPORAL = (6, 0, 1)  # their temporal index: a prompted frame, and the two before
Arrays = dict[str, NDArray[Any]]


class Golden(NamedTuple):
    """One graph.

    Attributes:
        inputs: by name, for one object.
        outputs: by name, float32.
    """

    inputs: Arrays
    outputs: Arrays


def picture(size: int) -> NDArray[np.uint8]:
    """Draw a patterned ground and a patterned disc on it, uint8 [size, size, 3]."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:size, :size] / size
    inside, radius = _disc(size)
    ground = np.stack([x, y, 1 - x], -1) * 120 + 40
    ground += 25 * np.sin(40 * x + 20 * y)[..., None]
    disc = np.stack([200 + 40 * np.cos(60 * radius), 70 + 0 * x, 50 + 60 * np.sin(30 * y)], -1)
    drawn = np.where(inside[..., None], disc, ground) + rng.normal(0, 4, (size, size, 3))
    return drawn.clip(0, 255).astype(np.uint8)


def _disc(size: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return where the disc is, and the distance from its centre in widths of the picture."""
    y, x = np.mgrid[:size, :size] / size
    radius = np.hypot(x - CENTRE[0], y - CENTRE[1])
    return radius < RADIUS, radius


def references(folder: Path, spec: TrackerSpec) -> dict[str, Golden]:
    """Run the graphs of a folder in single precision; takes seconds, at 1024 pixels a minute.

    Beside the graphs' own there are `PROMPTED` and `AFTER_ONE`, what the mask decoder makes of
    the prompt and of features that know a single memory.

    Args:
        folder: of graphs.
        spec: of the model.

    Raises:
        WeightsError: a graph is missing.
    """
    sessions = _Sessions(folder)
    found: dict[str, Golden] = {}

    def run(graph: str, **inputs: NDArray[Any]) -> Arrays:
        outputs = sessions.run(graph, inputs)
        found[graph] = Golden(inputs, outputs)
        return outputs

    encoded = run('image_encoder', image=picture(spec.image_size)[None])
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
    nothing = _prompt(spec, [PADDING, PADDING], np.zeros((0, 2), np.float32))
    if SINGLE_MEMORY in spec.graph_names:
        conditioned = run(SINGLE_MEMORY, features=features, **_bank(spec, memory, pointer, 1, 1))[
            'conditioned'
        ]
        run('mask_decoder', features=conditioned, **nothing, **finer)
        found[AFTER_ONE] = found['mask_decoder']
    conditioned = run(
        'memory_attention', features=features, **_bank(spec, memory, pointer, spec.slots, MEMORIES)
    )['conditioned']
    # What the decoder does on nearly every frame: no prompt, features that know the object.
    run('mask_decoder', features=conditioned, **nothing, **finer)
    return found


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


class _Sessions:
    """One session at a time: on a robot two do not fit beside a build."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        import onnxruntime as ort

        session = ort.InferenceSession(
            str(graph_file(self._folder, graph, 'fp32')), providers=['CPUExecutionProvider']
        )
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def kept_references(cache: PlanCache, folder: Path, spec: TrackerSpec) -> Path:
    """Return the file of the reference outputs of a folder, computing them if it is not there.

    Raises:
        WeightsError: a graph is missing.
    """
    key = hashlib.sha256(f'{FORMAT}'.encode())
    for graph in spec.graph_names:
        key.update(graph_file(folder, graph, 'fp32').read_bytes())
    path = cache.folder(cache.root / spec.name) / f'golden-{key.hexdigest()[:16]}.npz'
    try:
        load(path)
    except (OSError, ValueError, UntrustedError):
        _log.info('computing reference outputs of %s with ONNX Runtime', spec.name)
        arrays = {
            f'{graph}/{kind}/{name}': array
            for graph, golden in references(folder, spec).items()
            for kind, group in golden._asdict().items()
            for name, array in group.items()
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_private(path, buffer.getvalue())
    return path


def load(path: Path) -> dict[str, Golden]:
    """Read what `kept_references` wrote.

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
    except Exception as error:
        if isinstance(error, (OSError, UntrustedError)):
            raise
        raise ValueError(f'{path} cannot be read: {error}') from error
    return found
