# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam build`: the TensorRT engines of a model, built once on the machine that runs them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros import catalogue
from tam_ros.closing import Closing
from tam_ros.commands import UsageError
from tam_ros.commands.backend import count

if TYPE_CHECKING:
    from tam_ros.runtime.engine_options import BuildProgress


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'build', help='build the TensorRT engines of a model on this machine; takes minutes'
    )
    parser.add_argument('model', help='name of the model, see `tam models`')
    parser.add_argument(
        '--weights', help="a checkpoint or a folder of graphs, in place of the model's own"
    )
    parser.add_argument(
        '--precision',
        default='auto',
        choices=('auto', 'fp16', 'fp32'),
        help='auto: half precision if there are graphs for it',
    )
    parser.add_argument(
        '--workspace',
        type=count,
        metavar='MB',
        help='limit of the memory that the builder works in; default: free memory minus 512 MB',
    )
    parser.add_argument(
        '--max-objects',
        type=count,
        metavar='N',
        help='objects an engine can run at once; more are run in several batches (default 4)',
    )
    parser.add_argument('--force', action='store_true', help='also rebuild engines that exist')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Get the graphs, build their engines, check and save them.

    Raises:
        UsageError: the workspace is too small.
        EngineError: TensorRT, pycuda or a GPU is missing, or a build fails; says what to do.
        UnknownModelError, WeightsError, OSError: the model cannot be opened.
    """
    from tam_ros.loading import find_weights, graphs_of
    from tam_ros.runtime.engine_options import EngineOptions
    from tam_ros.tensorrt.prepare import prepare

    entry = catalogue.model(options.model)

    def graphs() -> Path:
        if options.weights is None and entry.weights.repo is not None:
            from tam_ros.commands import weights

            weights.run(options)
        return graphs_of(
            entry, find_weights(entry, options.weights, 'tensorrt', options.precision)
        )

    with Bar() as bar:
        try:
            engine_options = EngineOptions(
                build='if_missing',
                max_objects=options.max_objects,
                workspace_mb=options.workspace,
                progress=bar,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
        preparation = prepare(graphs, options.precision, engine_options)
        spec, machine = preparation.spec, preparation.machine
        print(
            f'{spec.name}, {spec.weights}, {preparation.precision}: '
            f'TensorRT {machine.tensorrt} on {machine.gpu}'
        )
        if options.force:
            for graph in spec.graph_names:
                preparation.discard(graph)
        plans = preparation.plans()
    width = max(map(len, plans))
    for graph, plan in plans.items():
        record = plan.record
        took = f'built in {record.seconds:.0f} s' if plan.fresh else 'already built'
        print(f'{graph:{width}}  {record.nbytes / 1e6:6.1f} MB  {took}; {record.check}')
        if record.note:
            print(f'{"":{width}}  in single precision: {record.note}')
    print(f'start the node with  runtime:=tensorrt model:={spec.name}')


class Bar(Closing):
    """A progress bar for each graph."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._graph = ''

    def __call__(self, progress: BuildProgress) -> None:
        """Show the progress of a build."""
        from tqdm import tqdm

        if progress.graph != self._graph:
            self.close()
            self._graph = progress.graph
            self._bar = tqdm(
                total=100,
                desc=f'{progress.graph} ({progress.index + 1}/{progress.graphs})',
                bar_format='{desc} {percentage:3.0f}%|{bar}| {elapsed} {postfix}',
            )
        self._bar.n = round(100 * progress.fraction)
        self._bar.set_postfix_str(progress.phase[:40], refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
