# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Time of an image encoder with each kind of attention in its trunk.

    python -m benchmark.trunks [--model NAME] [--runtimes NAME ...] [--doc docs/models.md]

See `trunk_attention` in `tam_ros.models.config`. The weights are random numbers: this is time, not
accuracy. The kinds take turns and the fastest turn counts, in processor time of one thread, which
does not grow while another process has the core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from tam_ros import catalogue
from tam_ros.evaluation.timing import machine
from tam_ros.loading import open_graphs
from tam_ros.model_files import UNTRAINED
from tam_ros.models.config import TRUNK_ATTENTIONS

RUNTIMES = ('onnxruntime', 'openvino', 'torch')


def measure(model: str, kinds: Sequence[str], runtime: str, turns: int) -> dict[str, float]:
    """Return the seconds of the image encoder by kind of attention.

    Args:
        model: an EfficientTAM of the catalogue.
        kinds: of `TRUNK_ATTENTIONS`.
        runtime: name of the backend.
        turns: runs of each, after one that is not counted.
    """
    entry = catalogue.model(model)
    fastest = dict.fromkeys(kinds, np.inf)
    with ExitStack() as stack:
        encoders = {}
        for kind in kinds:
            changed = replace(entry, config={**entry.config, 'trunk_attention': kind})
            graphs = stack.enter_context(
                open_graphs(changed, UNTRAINED, runtime, 1, precision='fp32')
            )
            shape = graphs.spec.graph('image_encoder').inputs[0].full_shape(1)
            encoders[kind] = graphs.sessions['image_encoder']
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for turn in range(turns + 1):
            for kind, encoder in encoders.items():
                begin = time.process_time()
                encoder.run({'image': image})
                if turn:
                    fastest[kind] = min(fastest[kind], time.process_time() - begin)
    return fastest


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--runtimes', nargs='+', default=RUNTIMES, metavar='NAME')
    parser.add_argument('--kinds', nargs='+', default=TRUNK_ATTENTIONS, choices=TRUNK_ATTENTIONS)
    parser.add_argument('--turns', type=int, default=20)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    found = {name: measure(args.model, args.kinds, name, args.turns) for name in args.runtimes}
    rows = [
        [f'`{kind}`', *(f'{1e3 * found[name][kind]:.1f}' for name in args.runtimes)]
        for kind in args.kinds
    ]
    heads = ['`trunk_attention`', *(f'{name}, ms' for name in args.runtimes)]
    text = (
        f'`python -m benchmark.trunks`, image encoder of {args.model}, untrained, single '
        f'precision, {machine()}, processor time of one thread:\n\n{table(heads, rows)}'
    )
    publish(text, 'trunks', args.doc)


if __name__ == '__main__':
    main()
