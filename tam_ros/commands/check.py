# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam check`: what is installed, what the machine is, whether models compute what they should."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import sys

from tam_ros import __version__, catalogue
from tam_ros.commands import UsageError
from tam_ros.runtime.backends import RUNTIMES

# Module, the distribution it may come from, and what it is for.
_LIBRARIES = (
    ('numpy', 'numpy', ''),
    ('cv2', 'opencv-python-headless', ''),
    ('onnxruntime', 'onnxruntime', 'runtime:=onnxruntime'),
    ('openvino', 'openvino', 'runtime:=openvino'),
    ('tensorrt', 'tensorrt', 'runtime:=tensorrt'),
    ('pycuda', 'pycuda', 'runtime:=tensorrt'),
    ('torch', 'torch', 'runtime:=torch, and exporting'),
    ('onnx', 'onnx', 'exporting'),
    ('rclpy', 'rclpy', 'the node'),
)


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        'check', help='show versions, GPU and engines, and test every runtime that is there'
    )
    parser.add_argument('--model', default='efficienttam_nano', help='to test with')
    parser.add_argument('--weights', help="checkpoint, or folder of graphs, not the model's own")
    parser.add_argument(
        '--runtime',
        choices=RUNTIMES,
        help='test only this one; that it is missing is then a failure',
    )
    parser.add_argument('--precision', default='auto', help='see `tam bench`')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print what is there and test it.

    Raises:
        UsageError: a runtime computes something else than it should, or the one asked for is
            missing.
        UnknownModelError, WeightsError: of the model and its weights.
    """
    print(f'tam_ros {__version__}, Python {platform.python_version()} ({sys.executable})')
    for module, distribution, purpose in _LIBRARIES:
        what = f'  ({purpose})' if purpose else ''
        print(f'  {module:12} {_version(module, distribution)}{what}')
    _print_machine()
    _print_engines()
    failed = _test(options)
    if failed:
        raise UsageError(f'not usable as it is: {", ".join(failed)}')


def _version(module: str, distribution: str) -> str:
    try:
        if importlib.util.find_spec(module) is None:
            return 'not installed'
    except (ImportError, ValueError) as error:
        return f'broken: {error}'
    for name in (distribution, module, f'{module}-cu12', f'{module}-cu13', 'opencv-python'):
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
    from tam_ros.tensorrt.engine_cache import PlanCache

    cache = PlanCache()
    entries = cache.entries()
    wrong = [entry for entry in entries if cache.verify(entry)]
    models = sorted({entry.path.parent.name for entry in entries})
    of = f' ({", ".join(models)})' if models else ''
    but = f'; {len(wrong)} do not verify, see `tam engines verify`' if wrong else ''
    print(f'engines: {len(entries)} in {cache.root}{of}{but}')


def _test(options: argparse.Namespace) -> list[str]:
    """Test the runtimes, one line each and one for each part; return those that failed."""
    from tam_ros.loading import find_weights, graphs_of
    from tam_ros.model_files import read_tracker_spec
    from tam_ros.tensorrt import golden
    from tam_ros.tensorrt.engine_cache import PlanCache

    entry = catalogue.model(options.model)
    folder = graphs_of(entry, find_weights(entry, options.weights, 'onnxruntime'))
    spec = read_tracker_spec(folder)
    print(f'self-test of {spec.name}, {spec.weights}; cosine similarity to the reference')
    reference = golden.load(golden.kept_references(PlanCache(), folder, spec))
    chosen = RUNTIMES if options.runtime is None else (options.runtime,)
    return [name for name in chosen if not _test_one(name, options, reference)]


def _test_one(name: str, options: argparse.Namespace, reference: dict) -> bool:
    from tam_ros.loading import open_runtime
    from tam_ros.model_files import WeightsError
    from tam_ros.runtime.base import EngineError
    from tam_ros.tensorrt.selftest import selftest

    if options.runtime is None and importlib.util.find_spec(name) is None:
        print(f'  {name:12} not installed')
        return True
    try:
        runtime = open_runtime(options.model, options.weights, name, precision=options.precision)
    except (EngineError, WeightsError, ImportError, ValueError) as error:
        print(f'  {name:12} cannot be opened: {error}')
        # Weights of one kind do not serve every runtime; a GPU is not everywhere.
        return options.runtime is None
    try:
        about = ', '.join(runtime.info.values())
        print(f'  {name:12} {about}')
        results = selftest(runtime, reference)
    finally:
        runtime.close()
    for part, agreement in results.items():
        print(f'    {"ok" if agreement.good else "WRONG":6} {part:42} {agreement}')
    return all(agreement.good for agreement in results.values())
