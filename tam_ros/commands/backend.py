# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Options of all commands that open a model: model, weights, runtime, precision."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.runtime.backends import AUTO, PRECISIONS, RUNTIMES, choose_precision

MAX_THREADS = 256

if TYPE_CHECKING:
    from tam_ros.segmentation import Segmenter
    from tam_ros.tracking import ClipTracker, Tracker


def add_backend_options(
    parser: argparse._ActionsContainer,
    weights: str = "checkpoint or folder of graphs, in place of the model's own",
) -> None:
    """Add the options to a parser or a group.

    Args:
        parser: the parser or group.
        weights: help text of `--weights`.
    """
    parser.add_argument('--model', default='efficienttam_nano', help='see `tam models`')
    parser.add_argument('--weights', help=weights)
    parser.add_argument('--runtime', default=RUNTIMES[0], choices=RUNTIMES)
    parser.add_argument(
        '--precision',
        default=AUTO,
        choices=PRECISIONS,
        help=f'precision of the computation (default: {AUTO}, the preferred one of the runtime)',
    )
    parser.add_argument(
        '--threads', type=_threads, help='number of CPU threads (default: chosen by the library)'
    )
    parser.add_argument(
        '--zero-copy',
        action='store_true',
        help='TensorRT: keep images and masks in memory shared by host and GPU (Jetson)',
    )
    parser.add_argument(
        '--cuda-graphs',
        action='store_true',
        help='TensorRT: launch all kernels of an engine together, as a CUDA graph',
    )


def add_hide_below(parser: argparse._ActionsContainer) -> None:
    """Add `--hide-below`, an option of the tracker that every command with a tracker can have."""
    parser.add_argument(
        '--hide-below',
        type=share,
        default=0.0,
        metavar='SHARE',
        help='do not show masks whose confidence is below this share of the usual one of the '
        'object, since they probably lie on something else; with the bundled model, 0.5 hides '
        'most masks of absent objects, and some right ones (default 0: show every mask)',
    )


def runtime_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as keyword arguments of `open_runtime` and `Tracker.open`.

    Raises:
        UsageError: the runtime does not offer the precision.
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


def describe(tracker: Tracker | ClipTracker | Segmenter) -> str:
    """Describe model, weights, runtime, device and precision in one line."""
    info = f' ({", ".join(tracker.info.values())})' if tracker.info else ''
    return f'{tracker.model}, {tracker.weights}, run by {tracker.runtime}{info}'


def _threads(text: str) -> int:
    """Parse a number of threads, as a `type` of argparse."""
    number, most = count(text), max(MAX_THREADS, os.cpu_count() or 1)
    if number > most:
        raise argparse.ArgumentTypeError(
            f'{number} is too many: at most {most}; this machine has {os.cpu_count()} CPUs'
        )
    return number


def count(text: str) -> int:
    """Parse a whole number from 1, as a `type` of argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number


def share(text: str) -> float:
    """Parse a number from 0 to 1, as a `type` of argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number
