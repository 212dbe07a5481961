# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Options of every command that opens a model: which, from what weights, run by what."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tam_ros.tracking import Tracker

from tam_ros.commands import UsageError
from tam_ros.runtime.backends import AUTO, BACKENDS, RUNTIMES, choose_precision

PRECISIONS = (AUTO, *sorted({name for row in BACKENDS.values() for name in row.precisions}))


def add_backend_options(
    parser: argparse._ActionsContainer,
    weights: str = "checkpoint, or folder of graphs, not the model's own",
) -> None:
    """Add them to a parser or a group.

    Args:
        parser: to add to.
        weights: help of `--weights`.
    """
    parser.add_argument('--model', default='efficienttam_nano', help='see `tam models`')
    parser.add_argument('--weights', help=weights)
    parser.add_argument('--runtime', default=RUNTIMES[0], choices=RUNTIMES)
    parser.add_argument(
        '--precision',
        default=PRECISIONS[0],
        choices=PRECISIONS,
        help='of what the runtime computes (default: its first choice)',
    )
    parser.add_argument('--threads', type=count, help="CPU threads; else the library's choice")
    parser.add_argument(
        '--zero-copy',
        action='store_true',
        help='TensorRT: images and masks stay in memory that host and GPU share (Jetson)',
    )
    parser.add_argument(
        '--cuda-graphs',
        action='store_true',
        help='TensorRT: launch the kernels of an engine all at once',
    )


def backend(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `open_runtime` that the options name, all by keyword.

    Raises:
        UsageError: the runtime knows no such precision.
    """
    from tam_ros.runtime.engine_options import EngineOptions

    try:
        choose_precision(options.runtime, options.precision)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {
        'model': options.model,
        'weights': options.weights,
        'runtime': options.runtime,
        'threads': options.threads,
        'precision': options.precision,
        'engines': EngineOptions(zero_copy=options.zero_copy, cuda_graphs=options.cuda_graphs),
    }


def describe(tracker: Tracker) -> str:
    """Say in a line what runs: model, weights, runtime, and on what in which precision."""
    info = f' ({", ".join(tracker.info.values())})' if tracker.info else ''
    return f'{tracker.model}, {tracker.weights}, run by {tracker.runtime}{info}'


def count(text: str) -> int:
    """Read a number of things."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number
