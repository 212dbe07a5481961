# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Effects of half precision on the models: the range of values, and the change of masks.

    python -m benchmark.precision --data DIR [--models NAME ...] [--checkpoints DIR]
        [--doc docs/performance.md]

DIR is a folder like DAVIS (`JPEGImages`, `Annotations`); its sequences are the calibration
inputs. Checkpoints are `NAME.pt`; a model that has none there takes its bundled weights, or
random ones.

Range: of every value that the fp16 graphs compute in half precision, measured in the fp32 graphs,
which cannot overflow. Agreement: both graphs of a model get the same frames and the same memories,
those of the fp32 graphs, so that deviations do not accumulate over frames. Where the weights are
trained, whole clips are tracked separately as well.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from benchmark.document import publish, table
from tam_ros import catalogue
from tam_ros.evaluation.dataset import VOID, TruthSequence, open_dataset
from tam_ros.evaluation.prompts import prompt_from_truth
from tam_ros.export.onnx import export_model
from tam_ros.loading import find_weights, open_exported
from tam_ros.model_files import GRAPH_PRECISIONS, UNTRAINED, file_name, read_spec
from tam_ros.runtime.base import (
    Arrays,
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    LoadedGraphs,
    PromptTokens,
    Runtime,
    Session,
)
from tam_ros.runtime.host import HostRuntime
from tam_ros.runtime.onnxruntime import session_options
from tam_ros.tracking import Tracker

LARGEST = 65504.0  # of half precision
LARGE = 1024  # pixels
# Their results are not larger than their inputs; measuring them would keep gigabytes in memory.
HARMLESS = {
    'Concat',
    'Expand',
    'Gather',
    'Identity',
    'Reshape',
    'Slice',
    'Softmax',
    'Split',
    'Squeeze',
    'Transpose',
    'Unsqueeze',
}
# Groups of layers: heading, prefix of the graph, part of a value's name; the first match counts.
GROUPS = (
    ('trunk', 'image_encoder', '/trunk/'),
    ('neck', 'image_encoder', ''),
    ('self-attention', 'memory_attention', '/self_attn/'),
    ('cross-attention', 'memory_attention', '/cross_attn_image/'),
    ('feed-forward and sums', 'memory_attention', ''),
    ('decoder', 'mask_decoder', '/transformer/'),
    ('upscaling', 'mask_decoder', ''),
    ('perceiver', 'memory_encoder', '/spatial_perceiver/'),
    ('memory encoder', 'memory_encoder', ''),
)


def group_of(graph: str, value: str) -> str:
    """Return the group of layers that a value of a graph belongs to."""
    return next(
        heading for heading, part, inside in GROUPS if graph.startswith(part) and inside in value
    )


def halves(model: ModelProto) -> set[str]:
    """Return the names of the values that an fp16 graph computes in half precision."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {
        value.name
        for value in graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }


def hiding(model: ModelProto) -> set[str]:
    """Return the values that mask keys in attention: biases of -1e4, and logits with them."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for node in model.graph.node:
        logits = makers.get(node.input[0]) if node.op_type == 'Softmax' else None
        if logits is None or logits.op_type != 'Add':
            continue
        found.add(logits.output[0])
        behind = [name for name in logits.input if makers[name].op_type != 'MatMul']
        while behind:
            name = behind.pop()
            if name in makers and name not in found:
                found.add(name)
                behind += makers[name].input
    return found


class RangeSession(Session):
    """Runs an fp32 graph and records the range of the values that its fp16 graph halves."""

    def __init__(
        self, folder: Path, graph: str, largest: dict[str, float], threads: int | None = None
    ) -> None:
        """Load a graph and add outputs for the range of each such value.

        Args:
            folder: folder of the graphs in both precisions.
            graph: its name.
            largest: updated in every run: largest magnitude by group of layers.
            threads: CPU threads; None for one per core.
        """
        self._graph = graph
        self._largest = largest
        model = onnx.load(folder / file_name(graph, 'fp32'))
        self._outputs = [value.name for value in model.graph.output]
        half = halves(onnx.load(folder / file_name(graph, 'fp16'))) - hiding(model)
        self._names = [
            name
            for node in model.graph.node
            if node.op_type not in HARMLESS
            for name in node.output
            if name in half
        ]
        measured = [(name, kind) for name in self._names for kind in ('Max', 'Min')]
        nodes = {
            name: [
                helper.make_node(f'Reduce{kind}', [name], [f'{name}.{kind}'], keepdims=0)
                for kind in ('Max', 'Min')
            ]
            for name in self._names
        }
        ordered = [
            later
            for node in model.graph.node
            for later in (node, *(n for name in node.output for n in nodes.get(name, ())))
        ]
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        model.graph.output.extend(
            helper.make_tensor_value_info(f'{name}.{kind}', TensorProto.FLOAT, [])
            for name, kind in measured
        )
        options = session_options(threads)
        # In the order of the file, so that no value is kept until the end to be measured.
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        results = self._session.run(None, dict(inputs))
        count = len(self._outputs)
        for name, (high, low) in zip(
            self._names, np.reshape(results[count:], (-1, 2)), strict=True
        ):
            group = group_of(self._graph, name)
            self._largest[group] = max(self._largest.get(group, 0.0), abs(high), abs(low))
        return dict(zip(self._outputs, results[:count], strict=True))


class Ranges(HostRuntime):
    """Runs the fp32 graphs of a tracker and records the range of what fp16 graphs halve.

    Attributes:
        largest: largest magnitude by group of layers.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """Load the graphs in a folder, which has them in both precisions."""
        self.largest: dict[str, float] = {}
        spec = read_spec(folder)
        sessions = {
            name: RangeSession(folder, name, self.largest, threads) for name in spec.graph_names
        }
        super().__init__('ranges', LoadedGraphs(spec, sessions))


class SideBySide(Runtime):
    """Two runtimes of one model on the same frames and the same memories.

    The masks of the first one are the result, and are stored by both. Handles are pairs.

    Attributes:
        deviations: largest difference of mask logits over their standard deviation, of the
            candidate that the first one rates best, for every object and frame.
        overlaps: IoU of these masks.
    """

    name = 'side by side'

    def __init__(self, first: Runtime, second: Runtime) -> None:
        self.both = first, second
        self.spec = first.spec
        self.deviations: list[float] = []
        self.overlaps: list[float] = []

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        for one in self.both:
            one.allocate(rows, memory_slots, pointer_slots, images)

    def image_encoder(self, image: NDArray[np.uint8] | Floats) -> Features:
        first, second = (one.image_encoder(image) for one in self.both)
        return Features(
            (first.raw, second.raw),
            (first.without_memory, second.without_memory),
            tuple(zip(first.high_resolution, second.high_resolution, strict=True)),
        )

    def _of(self, index: int, features: Features) -> Features:
        return Features(
            features.raw[index],
            features.without_memory[index],
            tuple(pair[index] for pair in features.high_resolution),
        )

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        return tuple(
            one._attend(self._of(index, features), bank, pooled)
            for index, one in enumerate(self.both)
        )

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        return tuple(
            one._merge(groups, [part[index] for part in parts])
            for index, one in enumerate(self.both)
        )

    def select_object(self, conditioned: Handle, index: int) -> Handle:
        return tuple(
            one.select_object(part, index)
            for one, part in zip(self.both, conditioned, strict=True)
        )

    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        first, second = (
            one.mask_decoder(self._of(index, features), source[index], prompts)
            for index, one in enumerate(self.both)
        )
        for index, best in enumerate(first.ious.argmax(1)):
            a, b = first.masks[index, best], second.masks[index, best]
            self.deviations.append(float(np.abs(a - b).max() / a.std()))
            self.overlaps.append(overlap(a > 0, b > 0))
        return first

    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        return tuple(
            one.memory_encoder(self._of(index, features), masks, prompted)
            for index, one in enumerate(self.both)
        )

    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        for one in self.both:
            one.store(rows, memory_slots, pointer_slots, memories[0], pointers)

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        return self.both[0].read_row(row)

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        for one in self.both:
            one.write_row(row, memories, pointers)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """IoU of two masks, 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def show(runtimes: Sequence[Runtime], sequence: TruthSequence, frames: int) -> list[float]:
    """Track the objects of the first frame with each runtime separately.

    Returns:
        IoU of each runtime's masks after the first with the first one's, of every object and
        frame after the prompted one.
    """
    trackers = [Tracker(runtime) for runtime in runtimes]
    overlaps = []
    for index, (image, labels) in enumerate(islice(sequence, frames)):
        prompts = []
        if index == 0 and labels is not None:
            prompts = [
                prompt_from_truth('mask', number, labels == number)
                for number in sorted(set(np.unique(labels).tolist()) - {0, VOID})
            ]
        first, *others = (
            {item.id: item.mask for item in tracker.step(image, index / 24, prompts).objects}
            for tracker in trackers
        )
        overlaps += [
            overlap(mask, other[number])
            for other in others
            for number, mask in first.items()
            if index
        ]
    return overlaps


def weights_of(entry: catalogue.Model, checkpoints: Path | None) -> Path | str:
    """Return a checkpoint of the folder, the bundled weights, or random ones."""
    given = checkpoints / f'{entry.name}.pt' if checkpoints else None
    if given and given.is_file():
        return given
    return find_weights(entry, None, 'torch') if entry.weights.bundled is not None else UNTRAINED


def measure(
    entry: catalogue.Model,
    weights: Path | str,
    sequences: Sequence[TruthSequence],
    frames: int,
    threads: int,
) -> tuple[dict[str, float], list[str]]:
    """Measure one model.

    Returns:
        The largest value of each group of layers, and the cells of the table of agreement.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_model(entry, weights, Path(scratch) / entry.name)
        largest: dict[str, float] = {}
        sides = SideBySide(
            *(open_exported(folder, threads=threads, precision=name) for name in GRAPH_PRECISIONS)
        )
        clips: list[float] = []
        for sequence in sequences:
            ranges = Ranges(folder, threads)
            show([ranges], sequence, frames)
            largest = {
                heading: max(largest.get(heading, 0.0), value)
                for heading, value in ranges.largest.items()
            }
            del ranges
            show([sides], sequence, frames)
            if entry.weights.bundled is not None:
                clips += show(sides.both, sequence, frames)
    agreement = [
        f'{np.median(sides.deviations):.4f}',
        f'{max(sides.deviations):.4f}',
        f'{np.mean(sides.overlaps):.4f}',
        f'{min(sides.overlaps):.4f}',
    ]
    return largest, [
        *agreement,
        f'{np.mean(clips):.4f}' if clips else '',
        f'{min(clips):.4f}' if clips else '',
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    trackers = [model.name for model in catalogue.models().values() if model.kind == 'tracker']
    parser.add_argument('--models', nargs='+', default=trackers, metavar='NAME')
    parser.add_argument('--checkpoints', type=Path, metavar='DIR')
    parser.add_argument('--sequences', nargs='+', default=(), metavar='NAME')
    parser.add_argument('--frames', type=int, default=10, help='of each sequence')
    parser.add_argument(
        '--large-frames',
        type=int,
        default=3,
        help='models of 1024 pixels, which '
        'take their time on a CPU, see only so many of the first sequence',
    )
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--doc', type=Path, help='put the tables into this document')
    args = parser.parse_args(argv)
    sequences = open_dataset(args.data, args.sequences)
    headings = [heading for heading, *_ in GROUPS]
    values, agreement = [], []
    for name in args.models:
        entry = catalogue.model(name)
        calibration = (
            (sequences[:1], args.large_frames)
            if entry.config['image_size'] >= LARGE
            else (sequences, args.frames)
        )
        largest, cells = measure(
            entry, weights_of(entry, args.checkpoints), *calibration, args.threads
        )
        top = max(largest.values())
        values.append(
            [
                f'`{name}`',
                *(f'{largest[heading]:.0f}' if heading in largest else '' for heading in headings),
                f'{LARGEST / top:.0f}',
            ]
        )
        agreement.append([f'`{name}`', *cells])
        print(values[-1], agreement[-1], flush=True)
    text = '\n\n'.join(
        (
            table(['largest value', *headings, 'headroom factor'], values),
            table(
                [
                    'fp16 against fp32',
                    'logits, median',
                    'worst',
                    'IoU, mean',
                    'worst',
                    'whole clips, mean',
                    'worst',
                ],
                agreement,
            ),
        )
    )
    publish(text, 'precision', args.doc)


if __name__ == '__main__':
    main()
