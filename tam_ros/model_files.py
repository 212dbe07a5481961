# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Files and descriptions of an exported model: `model.json` and the ONNX files of its graphs.

Each graph is exported in single and in half precision; the bundled folder has single precision
only. A `GraphSpec` describes a graph by the names, types and shapes of its inputs and outputs.
Export, engine building, the engine cache and the self-check work on graphs of any kind of
model. The graphs of a tracker follow from the numbers in its `TrackerSpec`, which the tracker's
runtime and memory bank need as well.

R is the side of the network input in pixels, G = R / 16, M = R / 4, B objects in a batch,
S memory slots, P pointer slots, K point tokens, C = `dim`, N tokens of a memory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tam_ros import regular_file
from tam_ros.checked_fields import check_types
from tam_ros.reading import InputError, reading
from tam_ros.regular_file import read_regular

DESCRIPTION = 'model.json'
FORMAT = 3  # version of the folder and of the graphs' inputs and outputs; part of the cache key
# Precision inside a graph, by the suffix of its file. Inputs and outputs are float32 in both.
GRAPH_PRECISIONS = {'fp32': 'float32', 'fp16': 'float16'}
UNTRAINED = 'untrained'
"""Given in place of a checkpoint: the weights are deterministic random numbers."""

TRACKER = 'tracker'
"""The kind of model whose graphs are the four functions of a tracker."""
SEGMENTER = 'segmenter'
"""The kind of model that segments what prompts show in single images."""
DETECTOR = 'detector'
"""The kind of model that finds objects of known classes in an image."""
CLIP = 'clip'
"""The kind of model that compares places in an image with texts."""

# Labels of point tokens besides those of clicks and box corners, see
# tam_ros.models.prompt_encoder. PADDING is the "not a point" token that SAM appends to every
# prompt; ABSENT fills the static shape and is masked in attention.
PADDING, ABSENT = -1, -2

TRACKER_GRAPHS = ('image_encoder', 'memory_attention', 'mask_decoder', 'memory_encoder')
# Outputs of the mask decoder, in the order of `tam_ros.runtime.base.Candidates`.
DECODER_OUTPUTS = ('masks', 'ious', 'scores', 'object_pointers')
# Further outputs of the image encoder and inputs of the mask decoder, where a model has them.
HIGH_RESOLUTION = ('stride_8', 'stride_4')
# A fifth graph of pooled models, whose attention is not pooled while an object has one memory.
SINGLE_MEMORY = 'memory_attention_single'

_NAME = re.compile('[A-Za-z0-9][A-Za-z0-9_.-]{0,99}')  # names become parts of paths
_DTYPES = ('float32', 'float16', 'float64', 'bool', *(f'int{n}' for n in (8, 16, 32, 64)), 'uint8')
_MAX_DESCRIPTION = 1 << 20  # bytes of `model.json`
MAX_WEIGHTS = 1 << 33  # bytes of a checkpoint or a graph, far above those of known models
_MAX_ELEMENTS = 1 << 28  # of an input or output, for a batch of one
_RANGES = {
    'image_size': (16, 4096),
    'dim': (8, 4096),
    'memory_tokens': (1, 65536),
    'memory_dim': (1, 4096),
    'slots': (1, 1024),
    'pointer_slots': (1, 1024),
    'point_tokens': (1, 1024),
}


class WeightsError(InputError, RuntimeError):
    """Weights or graphs that cannot be used; the message says why and how to fix it."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        dtype: numpy name of its elements, such as `float32`.
        shape: without the batch dimension if `batched`.
        batched: whether its first dimension is the batch, the only dynamic one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool = False

    def __post_init__(self) -> None:
        """Check the values; ValueError says which is wrong."""
        check_types(self)
        if self.dtype not in _DTYPES:
            raise ValueError(f'the type {self.dtype[:40]!r} of {self.name[:100]!r} is unknown')
        if min(self.shape, default=1) < 1 or math.prod(self.shape) > _MAX_ELEMENTS:
            raise ValueError(f'{self.name[:100]!r} has the shape {str(self.shape)[:100]}')

    def full_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape in a run with this batch size."""
        return (batch, *self.shape) if self.batched else self.shape


@dataclass(frozen=True)
class GraphSpec:
    """One graph.

    Attributes:
        name: name of the graph; the file names begin with it.
        inputs: in order.
        outputs: in order.
        fold_constants: whether the exporter folds constants. False where that would store large
            tables in place of small ones; runtimes fold them when they load the graph.
        tolerates_bf16: whether it may compute in bfloat16, which has 8 significant bits.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fold_constants: bool = True
    tolerates_bf16: bool = True

    def __post_init__(self) -> None:
        """Check the values; ValueError says which is wrong."""
        check_types(self)
        check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Description of a model, stored as JSON next to its exported graphs.

    Attributes:
        name: catalogue name.
        weights: description of the weights for users; starts with `untrained` if they are.
        fingerprint: SHA-256 of the checkpoint, or `untrained`.
        kind: as in the catalogue.
        graphs: in the order in which a run uses them.
    """

    name: str
    weights: str
    fingerprint: str
    kind: str
    graphs: tuple[GraphSpec, ...] = ()

    def __post_init__(self) -> None:
        """Check the values; ValueError says which is wrong."""
        check_types(self)
        check_name(self.name)

    @property
    def graph_names(self) -> tuple[str, ...]:
        """Names of all graphs of the model."""
        return tuple(graph.name for graph in self.graphs)

    def graph(self, name: str) -> GraphSpec:
        """Return a graph by name.

        Raises:
            KeyError: the model has no graph of that name.
        """
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise KeyError(f'{self.name} has no graph {name!r}; it has {", ".join(self.graph_names)}')

    def to_json(self) -> str:
        """Serialise."""
        return json.dumps({'format': FORMAT, **asdict(self)}, indent=2)


@dataclass(frozen=True, kw_only=True)
class TrackerSpec(ModelSpec):
    """A model with the four functions of a tracker; its graphs follow from these numbers.

    Attributes:
        image_size: R.
        dim: C.
        memory_tokens: N.
        memory_dim: channels of one memory token.
        slots: S.
        pointer_slots: P.
        point_tokens: K, including the padding token that SAM appends.
        pooled: whether the cross-attention pools its keys from the second memory on.
        dense_prompt_prior: whether clicks and boxes are also drawn into the mask prompt.
        mask_downsample_weight: 16 numbers of the 4x4 convolution for mask prompts, row-major.
        mask_downsample_bias: its bias.
        high_resolution: whether the decoder has features of strides 8 and 4 as inputs.
    """

    kind: str = TRACKER
    image_size: int
    dim: int
    memory_tokens: int
    memory_dim: int
    slots: int
    pointer_slots: int
    point_tokens: int
    pooled: bool
    dense_prompt_prior: bool
    mask_downsample_weight: tuple[float, ...]
    mask_downsample_bias: float
    high_resolution: bool = False

    def __post_init__(self) -> None:
        """Check the numbers, and derive the graphs; ValueError says which number is wrong."""
        super().__post_init__()
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f'{name} is {getattr(self, name)}, not {low} to {high}')
        if self.image_size % 16:
            raise ValueError(f'image_size is {self.image_size}, not a multiple of 16')
        if len(self.mask_downsample_weight) != 16:
            raise ValueError('mask_downsample_weight has not 16 numbers')
        object.__setattr__(self, 'graphs', tuple(_tracker_graphs(self)))

    @property
    def mask_size(self) -> int:
        """M, the side of low-resolution masks."""
        return self.image_size // 4

    def to_json(self) -> str:
        """Serialise, without the graphs."""
        values = asdict(self)
        del values['graphs']
        return json.dumps({'format': FORMAT, **values}, indent=2)


@dataclass(frozen=True, kw_only=True)
class DetectorSpec(ModelSpec):
    """A model that finds objects of known classes.

    Attributes:
        class_names: the classes, in the order of its scores.
    """

    class_names: tuple[str, ...]


def check_name(name: str) -> None:
    """Raise ValueError unless a name can be part of a path."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'the name {name[:100]!r} does not begin with a letter or digit, or has other '
            'characters than letters, digits, `_`, `-` and `.`'
        )


def _tracker_graphs(spec: TrackerSpec) -> Iterator[GraphSpec]:
    """Describe the graphs of a tracker, in the order in which a frame uses them."""
    grid, mask = spec.image_size // 16, spec.mask_size
    features = TensorSpec('features', 'float32', (1, spec.dim, grid, grid))
    finer = tuple(
        TensorSpec(name, 'float32', (1, spec.dim // part, grid * scale, grid * scale))
        for name, part, scale in zip(HIGH_RESOLUTION, (4, 8), (2, 4), strict=True)
        if spec.high_resolution
    )
    yield GraphSpec(
        'image_encoder',
        (TensorSpec('image', 'uint8', (1, spec.image_size, spec.image_size, 3)),),
        (features, TensorSpec('features_without_memory', 'float32', features.shape), *finer),
    )
    yield _memory_attention('memory_attention', spec, features, spec.slots)
    if spec.pooled:
        yield _memory_attention(SINGLE_MEMORY, spec, features, 1)
    yield GraphSpec(
        'mask_decoder',
        (
            _batched('features', *features.shape[1:]),
            _batched('points', spec.point_tokens, 2),
            _batched('labels', spec.point_tokens, dtype='int64'),
            _batched('mask', 1, mask, mask),
            _batched('has_mask'),
            *finer,
        ),
        tuple(
            _batched(name, *shape)
            for name, shape in zip(
                DECODER_OUTPUTS, ((4, mask, mask), (4,), (1,), (4, spec.dim)), strict=True
            )
        ),
        tolerates_bf16=False,
    )
    yield GraphSpec(
        'memory_encoder',
        (features, _batched('masks', 1, mask, mask), _batched('prompted')),
        (_batched('memory', spec.memory_tokens, spec.memory_dim),),
        tolerates_bf16=False,
    )


def _memory_attention(name: str, spec: TrackerSpec, features: TensorSpec, slots: int) -> GraphSpec:
    return GraphSpec(
        name,
        (
            features,
            _batched('memories', slots, spec.memory_tokens, spec.memory_dim),
            _batched('temporal_index', slots, dtype='int64'),
            _batched('memory_valid', slots),
            _batched('pointers', spec.pointer_slots, spec.dim),
            _batched('pointer_valid', spec.pointer_slots),
        ),
        (_batched('conditioned', *features.shape[1:]),),
        fold_constants=False,
    )


def _batched(name: str, *shape: int, dtype: str = 'float32') -> TensorSpec:
    return TensorSpec(name, dtype, shape, batched=True)


def read_spec(folder: Path) -> ModelSpec:
    """Read the description in a folder of graphs.

    Raises:
        WeightsError: it is missing or damaged, or another version of tam_ros wrote it.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        raise WeightsError(
            f'{folder} contains no {DESCRIPTION}, so it is not a folder of exported graphs'
        )
    advice = 'export the graphs again'
    with reading(path, WeightsError, 'the description of the graphs', advice=advice):
        values = json.loads(read_regular(path, _MAX_DESCRIPTION).decode())
        # Older folders lack `format`, `kind` and `high_resolution`; their graphs are the same.
        version = values.pop('format', FORMAT)
        if version != FORMAT:
            raise WeightsError(
                f'the graphs in {folder} were exported by another version of tam_ros; export again'
            )
        if values.get('kind', TRACKER) == TRACKER:
            return _read_tracker(values)
        values['graphs'] = tuple(map(_read_graph, values['graphs']))
        if values['kind'] == DETECTOR:
            return DetectorSpec(**{**values, 'class_names': tuple(values['class_names'])})
        return ModelSpec(**values)


def as_tracker(spec: ModelSpec) -> TrackerSpec:
    """Return the spec, as that of a tracker.

    Raises:
        WeightsError: the model is of another kind.
    """
    if not isinstance(spec, TrackerSpec):
        raise WeightsError(f'{spec.name} is a {spec.kind}, not a tracker')
    return spec


def _read_tracker(values: dict[str, Any]) -> TrackerSpec:
    values['mask_downsample_weight'] = tuple(values['mask_downsample_weight'])
    # Of the families without it only EdgeTAM has features of strides 8 and 4, and only its
    # memories do not have one token per feature.
    grid = values['image_size'] // 16
    values.setdefault('high_resolution', values['memory_tokens'] != grid**2)
    return TrackerSpec(**values)


def _read_graph(values: dict[str, Any]) -> GraphSpec:
    for side in ('inputs', 'outputs'):
        values[side] = tuple(
            TensorSpec(**{**tensor, 'shape': tuple(tensor['shape'])}) for tensor in values[side]
        )
    return GraphSpec(**values)


def file_name(graph: str, precision: str) -> str:
    """Return the file name of a graph."""
    return f'{graph}_{precision}.onnx'


def sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint or a graph, in hexadecimal.

    Raises:
        WeightsError: it cannot be read, is not a regular file, or is too large.
    """
    with reading(path, WeightsError, 'weights'):
        return regular_file.sha256(path, MAX_WEIGHTS)
