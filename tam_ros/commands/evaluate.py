# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam eval`: scores a model on a dataset with ground-truth masks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tam_ros.commands import UsageError
from tam_ros.commands.backend import (
    add_backend_options,
    add_hide_below,
    describe,
    runtime_arguments,
)

if TYPE_CHECKING:
    from tam_ros.evaluation.runner import SequenceScores
    from tam_ros.tracking import Tracker


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('eval', help='score a model on a dataset in the layout of DAVIS')
    parser.add_argument('dataset', type=Path, help='folder with JPEGImages and Annotations')
    parser.add_argument(
        '--prompt',
        default='mask',
        choices=('mask', 'box', 'click'),
        help='prompt for each object, made from the ground truth of the first frame that shows '
        'it (default: mask)',
    )
    parser.add_argument(
        '--sequences',
        nargs='+',
        default=[],
        metavar='NAME',
        help='only these; a file NAME.txt contains names, one per line',
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all scores into this file'
    )
    parser.add_argument(
        '--plot', type=Path, metavar='FILE.png', help='draw a plot of J over time into this file'
    )
    add_hide_below(parser)
    add_backend_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate and report. After an error or Ctrl-C, the finished sequences are reported.

    Raises:
        UsageError: an output cannot be written.
        DatasetError: the dataset cannot be read.
        UnknownModelError, WeightsError: the model cannot be opened.
    """
    from tqdm import tqdm

    from tam_ros.evaluation.dataset import open_dataset
    from tam_ros.evaluation.runner import evaluate_sequence
    from tam_ros.tracking import Tracker, TrackerOptions

    _check_outputs(options)
    sequences = open_dataset(options.dataset, options.sequences)
    limits = TrackerOptions(hide_below=options.hide_below)
    with Tracker.open(**runtime_arguments(options), options=limits) as tracker:
        print(f'{describe(tracker)}; prompt: {options.prompt}')
        results: list[SequenceScores] = []
        try:
            for sequence in tqdm(sequences, unit='sequence', leave=False):
                results.append(evaluate_sequence(tracker, sequence, options.prompt))
        finally:
            if results:
                _report(options, tracker, results, len(sequences))


def _check_outputs(options: argparse.Namespace) -> None:
    for path in filter(None, (options.json, options.plot)):
        if not path.absolute().parent.is_dir():
            raise UsageError(f'{path} cannot be written: the folder {path.parent} does not exist')
    if options.plot is None:
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ModuleNotFoundError as error:
        raise UsageError('--plot needs matplotlib: pip install matplotlib') from error
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if options.plot.suffix[1:].lower() not in kinds:
        raise UsageError(f'{options.plot}: the name of a plot ends in .png, .pdf or .svg')


def _report(
    options: argparse.Namespace, tracker: Tracker, results: list[SequenceScores], total: int
) -> None:
    from tam_ros.evaluation import report

    print(report.as_table(results))
    print(report.LEGEND)
    if len(results) < total:
        print(f'only {len(results)} of {total} sequences were finished')
    if options.json:
        about = {
            'dataset': str(options.dataset),
            'prompt': options.prompt,
            'hide_below': options.hide_below,
            'model': tracker.model,
            'weights': tracker.weights,
            'runtime': tracker.runtime,
            'facts': dict(tracker.info),
            'complete': len(results) == total,
        }
        options.json.write_text(json.dumps(about | report.as_json(results), indent=1) + '\n')
        print(options.json)
    if options.plot:
        report.plot(results, options.plot, f'{tracker.model}, given a {options.prompt}')
        print(options.plot)
