# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Comparison of the models: size of their graphs, work, and time of each on this machine.

    python -m benchmark.families [--models NAME ...] [--objects 1] [--doc docs/models.md]

One tracked frame with a full bank, ONNX Runtime. The models take turns, so that other load on the
machine affects all of them, and the fastest turn counts: compare the ratios. The weights are
random numbers, which does not change the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from tam_ros import catalogue
from tam_ros.loading import graphs_of, open_runtime
from tam_ros.model_files import ABSENT, PADDING, TRACKER_GRAPHS, UNTRAINED
from tam_ros.runtime.base import BankRows, PromptTokens, Runtime

MODELS = (
    'efficienttam_ti_512x512',
    'efficienttam_s_512x512',
    'edgetam_512',
    'edgetam_768',
    'edgetam',
    'efficienttam_ti_1',
    'efficienttam_ti',
    'efficienttam_s_1',
)


class TrackedFrame:
    """The four functions of a model on a tracked frame; every call runs them once."""

    def __init__(
        self, runtime: Runtime, objects: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        spec = runtime.spec
        self._runtime = runtime
        self._clock = clock
        self._image = np.zeros((spec.image_size, spec.image_size, 3), np.uint8)
        runtime.allocate(objects, spec.slots, spec.pointer_slots)

        def columns(count: int) -> np.ndarray:
            return np.tile(np.arange(count), (objects, 1))

        self._bank = BankRows(
            np.arange(objects),
            columns(spec.slots),
            columns(spec.slots),
            np.ones((objects, spec.slots), np.float32),
            columns(spec.pointer_slots),
            np.ones((objects, spec.pointer_slots), np.float32),
        )
        labels = np.full((objects, spec.point_tokens), ABSENT, np.int64)
        labels[:, :2] = PADDING
        side = spec.mask_size
        self._masks = np.zeros((objects, side, side), np.float32)
        self._tokens = PromptTokens(
            np.zeros((*labels.shape, 2), np.float32),
            labels,
            self._masks[:, None],
            np.zeros(objects, np.float32),
        )

    def seconds(self) -> list[float]:
        """Return the time of each function, in the order of `TRACKER_GRAPHS`."""
        runtime, times = self._runtime, []

        def timed(function: Callable, *arguments: object) -> object:
            begin = self._clock()
            result = function(*arguments)
            times.append(self._clock() - begin)
            return result

        features = timed(runtime.image_encoder, self._image)
        conditioned = timed(runtime.memory_attention, features, self._bank)
        timed(runtime.mask_decoder, features, conditioned, self._tokens)
        timed(runtime.memory_encoder, features, self._masks, self._tokens.has_mask)
        return times


def work(name: str, objects: int) -> float:
    """Return the multiplications of matrices and convolutions on such a frame, in 1e9."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from tam_ros.models.build import build_network, describe, family_of

    entry = catalogue.model(name)
    family = family_of(entry)
    network = build_network(entry, UNTRAINED).requires_grad_(False)
    family.fuse(network)
    spec = describe(entry, UNTRAINED, network)
    modules = family.graph_modules(network, spec)
    total = 0.0
    for name in TRACKER_GRAPHS:
        inputs = (
            torch.zeros(tensor.full_shape(objects), dtype=getattr(torch, tensor.dtype))
            for tensor in spec.graph(name).inputs
        )
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),  # the counter does not support fused attention on CPUs
            FlopCounterMode(display=False) as counter,
        ):
            modules[name](*inputs)
        total += counter.get_total_flops() / 2e9
    return total


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        '--models',
        nargs='+',
        default=MODELS,
        metavar='NAME',
        help='the first is the unit of the ratios',
    )
    parser.add_argument('--objects', type=int, default=1)
    parser.add_argument('--turns', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    frames, megabytes = {}, {}
    for name in args.models:
        folder = graphs_of(catalogue.model(name), UNTRAINED)
        megabytes[name] = sum(path.stat().st_size for path in folder.glob('*_fp32.onnx')) / 1e6
        frames[name] = TrackedFrame(
            open_runtime(name, UNTRAINED, threads=args.threads), args.objects
        )
        frames[name].seconds()
    times = {name: np.full(len(TRACKER_GRAPHS), np.inf) for name in args.models}
    for _ in range(args.turns):
        for name, frame in frames.items():
            times[name] = np.minimum(times[name], frame.seconds())
    unit = times[args.models[0]].sum()
    rows = [
        [
            f'`{name}`',
            f'{megabytes[name]:.0f}',
            f'{work(name, args.objects):.0f}',
            *(f'{1e3 * value:.0f}' for value in times[name]),
            f'{1e3 * times[name].sum():.0f}',
            f'{times[name].sum() / unit:.2f}',
        ]
        for name in args.models
    ]
    heads = [
        'model',
        'graphs, MB',
        '10^9 multiplications',
        *(f'{graph.replace("_", " ")}, ms' for graph in TRACKER_GRAPHS),
        'total, ms',
        'ratio',
    ]
    publish(table(heads, rows), 'families', args.doc)


if __name__ == '__main__':
    main()
