# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam check`: installed libraries, the machine, and whether backends compute correct results."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from tam_ros import __version__, catalogue
from tam_ros.commands import UsageError
from tam_ros.runtime.backends import BACKENDS, RUNTIMES

if TYPE_CHECKING:
    from tam_ros.model_files import ModelSpec
    from tam_ros.tensorrt.golden import Golden

# Libraries besides those of the backends, and what they are used for.
_ALWAYS = ('numpy', 'cv2')
_OTHERS = (('torch', 'exporting'), ('onnx', 'exporting'), ('rclpy', 'the node'))
# Distributions that a module may come from, where their names differ from the module's.
_DISTRIBUTIONS = {
    'cv2': ('opencv-python-headless', 'opencv-python'),
    'tensorrt': ('tensorrt', 'tensorrt-cu12', 'tensorrt-cu13'),
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'check', help='show versions, GPU and engines, and test every installed backend'
    )
    parser.add_argument(
        '--model', default='efficienttam_nano', help='model to test with (default: %(default)s)'
    )
    parser.add_argument(
        '--weights', help="a checkpoint or a folder of graphs, in place of the model's own"
    )
    parser.add_argument(
        '--runtime',
        choices=RUNTIMES,
        help='test only this backend, and fail if it is not installed',
    )
    parser.add_argument('--precision', default='auto', help='see `tam bench`')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print versions and machine, and test the backends.

    Raises:
        UsageError: a backend computes wrong results, or the requested one is not installed.
        UnknownModelError, WeightsError: the model cannot be opened.
    """
    print(f'tam_ros {__version__}, Python {platform.python_version()} ({sys.executable})')
    for module, uses in _libraries().items():
        purpose = f'  ({", and ".join(uses)})' if uses else ''
        print(f'  {module:12} {_version(module)}{purpose}')
    _print_machine()
    _print_engines()
    failed = _test(options)
    if failed:
        raise UsageError(f'failed: {", ".join(failed)}')


def _libraries() -> dict[str, list[str]]:
    """Return the modules to look for, and the uses of each."""
    uses: dict[str, list[str]] = {module: [] for module in _ALWAYS}
    for row in BACKENDS.values():
        for module in row.libraries:
            uses.setdefault(module, []).append(f'runtime:={row.name}')
    for module, use in _OTHERS:
        uses.setdefault(module, []).append(use)
    return uses


def _version(module: str) -> str:
    try:
        if importlib.util.find_spec(module) is None:
            return 'not installed'
    except (ImportError, ValueError) as error:
        return f'broken: {error}'
    for name in _DISTRIBUTIONS.get(module, (module,)):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return 'installed'


def _print_machine() -> None:
    from tam_ros.runtime.base import EngineError
    from tam_ros.tensorrt.cuda import available_bytes, probe
    from tam_ros.tensorrt.identity import board, jetpack, l4t_release

    l4t = l4t_release()
    name = board() or platform.machine()
    linux = f', Jetson Linux {l4t}' if l4t else ''
    line = f', JetPack {jetpack(l4t)}' if jetpack(l4t) else ''
    print(f'machine: {name}{linux}{line}, {platform.platform()}')
    available = available_bytes()
    if available:
        print(f'  memory       {available / 1e6:.0f} MB available')
    try:
        gpu = probe()
    except EngineError as error:
        print(f'  GPU          none for TensorRT: {error}')
        return
    print(
        f'  GPU          {gpu.name}, compute capability {gpu.compute_capability}, '
        f'{gpu.multiprocessors} multiprocessors, driver for CUDA {gpu.driver}'
    )


def _print_engines() -> None:
    from tam_ros.tensorrt.engine_cache import EngineCache

    cache = EngineCache()
    entries = cache.entries()
    invalid = [entry for entry in entries if cache.verify(entry)]
    models = sorted({entry.path.parent.name for entry in entries})
    owners = f' ({", ".join(models)})' if models else ''
    warning = f'; {len(invalid)} cannot be verified, see `tam engines verify`' if invalid else ''
    print(f'engines: {len(entries)} in {cache.root}{owners}{warning}')


def _test(options: argparse.Namespace) -> list[str]:
    """Test the backends, with a line for each and for each part; return those that failed."""
    from tam_ros.loading import find_weights, graphs_of
    from tam_ros.model_files import read_spec
    from tam_ros.tensorrt.engine_cache import EngineCache
    from tam_ros.tensorrt.golden import cached_references, load_references

    entry = catalogue.model(options.model)
    folder = graphs_of(entry, find_weights(entry, options.weights, 'onnxruntime'))
    spec = read_spec(folder)
    print(f'self-test of {spec.name}, {spec.weights}; cosine similarity to the reference')
    golden = load_references(cached_references(EngineCache(), folder, spec))
    chosen = RUNTIMES if options.runtime is None else (options.runtime,)
    return [name for name in chosen if not _test_one(name, options, spec, golden)]


def _test_one(
    name: str, options: argparse.Namespace, spec: ModelSpec, golden: Mapping[str, Golden]
) -> bool:
    from tam_ros.loading import open_graphs, open_runtime
    from tam_ros.model_files import TrackerSpec, WeightsError
    from tam_ros.runtime.base import EngineError
    from tam_ros.tensorrt.self_check import check_graphs, check_runtime

    missing = [
        module for module in BACKENDS[name].libraries if importlib.util.find_spec(module) is None
    ]
    if options.runtime is None and missing:
        print(f'  {name:12} not installed ({", ".join(missing)})')
        return True
    arguments = options.model, options.weights, name
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(spec, TrackerSpec):
                runtime = open_runtime(*arguments, precision=options.precision)
                stack.enter_context(runtime)
                info, check = runtime.info, partial(check_runtime, runtime)
            else:
                loaded = open_graphs(*arguments, precision=options.precision)
                stack.enter_context(loaded)
                info, check = loaded.info, partial(check_graphs, loaded)
        except (EngineError, WeightsError, ImportError, ValueError) as error:
            print(f'  {name:12} cannot be opened: {error}')
            # Not every backend accepts every kind of weights, and not every machine has a GPU.
            return options.runtime is None
        print(f'  {name:12} {", ".join(info.values())}')
        results = check(golden)
    for part, agreement in results.items():
        print(f'    {"ok" if agreement.good else "WRONG":6} {part:42} {agreement}')
    return all(agreement.good for agreement in results.values())
