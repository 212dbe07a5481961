# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every name of TensorRT and pycuda that the code uses exists in the versions of JetPack.

The names are read from the code. TensorRT's Python bindings of each version are small wheels that
load without the libraries if three stub libraries replace them; each is checked for every name.
pycuda's driver module needs a driver, so its source is searched instead.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOWNLOADS = ROOT / 'build' / 'tensorrt_bindings'
# JetPack 6, 7.0 and 7.1, 7.2, 7.2.2 (TensorRT 11.4.1 is on JetPack alone; 11.4.0 is its wheel).
WHEELS = {
    '10.3.0': 'tensorrt-cu12-bindings',
    '10.13.3.9': 'tensorrt-cu12-bindings',
    '10.16.1.11': 'tensorrt-cu12-bindings',
    '11.4.0.106': 'tensorrt-cu13-bindings',
}
FILES = ('builder.py', 'engine.py', 'prepare.py', 'build_process.py')
# Classes of TensorRT, by the variables and attributes that hold them in those files.
CLASSES = {
    'builder': 'Builder',
    'network': 'INetworkDefinition',
    'config': 'IBuilderConfig',
    'parser': 'OnnxParser',
    'error': 'ParserError',
    'profile': 'IOptimizationProfile',
    'cache': 'ITimingCache',
    'engine': 'ICudaEngine',
    '_engine': 'ICudaEngine',
    '_runtime': 'Runtime',
    '_context': 'IExecutionContext',
}
# Files in which the same variables hold classes of this package.
OWN = {'prepare.py', 'build_process.py'}
STUBS = {
    'nvinfer': (
        'createInferBuilder_INTERNAL',
        'createInferRuntime_INTERNAL',
        'createInferRefitter_INTERNAL',
        'getPluginRegistry',
        'getBuilderPluginRegistry',
    ),
    'nvinfer_plugin': ('initLibNvInferPlugins',),
    'nvonnxparser': (
        'createNvOnnxParser_INTERNAL',
        'createNvOnnxParserRefitter_INTERNAL',
        'getNvOnnxParserVersion',
    ),
}
SCRIPT = """
import json, sys
import tensorrt_bindings as trt
missing = []
for name in json.load(sys.stdin):
    place = trt
    for part in name.split('.'):
        if not hasattr(place, part):
            missing.append(name)
            break
        place = getattr(place, part)
print(json.dumps([trt.__version__, missing]))
"""


def chain(node: ast.AST) -> list[str]:
    """Return the names of `a.b.c`; of other expressions none."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def names_used() -> set[str]:
    """Return the names of TensorRT in the code, such as `Builder.create_network`."""
    used = set()
    for file in FILES:
        tree = ast.parse((ROOT / 'tam_ros' / 'tensorrt' / file).read_text())
        for node in ast.walk(tree):
            names = chain(node)
            if names[:1] == ['trt'] and len(names) > 1:
                used.add('.'.join(names[1:]))
            elif len(names) > 1 and file not in OWN:
                for owner, name in zip(names, names[1:], strict=False):
                    if owner in CLASSES and name not in CLASSES:
                        used.add(f'{CLASSES[owner]}.{name}')
            if isinstance(node, ast.ClassDef) and any(
                chain(base) == ['trt', 'IProgressMonitor'] for base in node.bases
            ):
                used |= {
                    f'IProgressMonitor.{item.name}'
                    for item in node.body
                    if isinstance(item, ast.FunctionDef) and item.name != '__init__'
                }
    return used - {'__version__'}


def test_names_are_found_in_the_code():
    used = names_used()
    assert {
        'Builder',
        'NetworkDefinitionCreationFlag.STRONGLY_TYPED',
        'Runtime',
        'nptype',
        'Builder.build_serialized_network',
        'IBuilderConfig.progress_monitor',
        'IExecutionContext.execute_async_v3',
        'IExecutionContext.set_device_memory',
        'ICudaEngine.device_memory_size_v2',
        'Runtime.engine_host_code_allowed',
        'IProgressMonitor.step_complete',
        'OnnxParser.parse',
        'ParserError.node_name',
        'IOptimizationProfile.set_shape',
        'ITimingCache.serialize',
    } <= used
    removed = {'EXPLICIT_BATCH', 'FP16', 'device_memory_size', 'max_workspace_size'}
    assert not removed & {part for name in used for part in name.split('.')}


@pytest.fixture(scope='module')
def stubs() -> Path:
    """Compile stubs of TensorRT's libraries."""
    compiler = shutil.which('gcc') or shutil.which('cc')
    if compiler is None:
        pytest.skip('no C compiler')
    folder = DOWNLOADS / 'stubs'
    folder.mkdir(parents=True, exist_ok=True)
    for major in (10, 11):
        for library, functions in STUBS.items():
            name = f'lib{library}.so.{major}'
            if (folder / name).exists():
                continue
            code = '\n'.join(f'void *{function}(void) {{ return 0; }}' for function in functions)
            subprocess.run(
                [
                    compiler,
                    '-x',
                    'c',
                    '-shared',
                    '-fPIC',
                    f'-Wl,-soname,{name}',
                    '-',
                    '-o',
                    str(folder / name),
                ],
                input=code,
                text=True,
                check=True,
            )
    return folder


def downloaded(requirement: str, folder: Path, *options: str) -> Path:
    """Return the file that pip downloads for a requirement, or downloaded before."""
    found = sorted(folder.glob('*.whl')) + sorted(folder.glob('*.tar.gz'))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pip',
                'download',
                '--no-deps',
                '-q',
                '--retries',
                '1',
                '--timeout',
                '20',
                '-d',
                str(folder),
                *options,
                requirement,
            ],
            text=True,
            capture_output=True,
        )
        found = sorted(folder.glob('*.whl')) + sorted(folder.glob('*.tar.gz'))
        if done.returncode and not found:
            pytest.skip(
                f'{requirement} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}'
            )
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize('version', WHEELS)
def test_every_name_is_in_the_bindings(version, stubs, tmp_path):
    tag = f'cp{sys.version_info.major}{sys.version_info.minor}'
    wheel = downloaded(
        f'{WHEELS[version]}=={version}', DOWNLOADS / f'{version}-{tag}', '--only-binary=:all:'
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        input=json.dumps(sorted(names_used())),
        text=True,
        capture_output=True,
        env={**os.environ, 'LD_LIBRARY_PATH': str(stubs), 'PYTHONPATH': str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found, missing = json.loads(done.stdout.strip().splitlines()[-1])
    assert version.startswith(found) or found.startswith(version)
    assert missing == []


def test_a_removed_name_is_detected(stubs, tmp_path):
    """The check itself: TensorRT 11 has no flag for half precision."""
    tag = f'cp{sys.version_info.major}{sys.version_info.minor}'
    kept = sorted((DOWNLOADS / f'11.4.0.106-{tag}').glob('*.whl'))
    if not kept:
        pytest.skip('the bindings of 11.4 were not downloaded yet')
    with zipfile.ZipFile(kept[0]) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        input='["BuilderFlag.FP16", "BuilderFlag.TF32"]',
        text=True,
        capture_output=True,
        env={**os.environ, 'LD_LIBRARY_PATH': str(stubs), 'PYTHONPATH': str(tmp_path)},
    )
    assert json.loads(done.stdout.strip().splitlines()[-1])[1] == ['BuilderFlag.FP16']


def pycuda_names() -> set[str]:
    """Return the names of pycuda in the code."""
    tree = ast.parse((ROOT / 'tam_ros' / 'tensorrt' / 'cuda.py').read_text())
    used = set()
    for node in ast.walk(tree):
        names = [name for name in chain(node) if name != 'self']
        if names[:1] in (['cuda'], ['_cuda'], ['attribute']):
            used |= set(names[1:])
        elif names[:1] in (['_context'], ['context'], ['_stream'], ['_event'], ['_allocation']):
            used |= set(names[1:2])
        elif names[:1] == ['device'] and len(names) == 2:
            used.add(names[1])
    return used


@pytest.mark.slow
def test_every_name_is_in_pycuda():
    used = pycuda_names()
    assert {
        'memcpy_htod_async',
        'retain_primary_context',
        'pagelocked_empty',
        'DEVICEMAP',
        'get_device_pointer',
        'MULTIPROCESSOR_COUNT',
        'push',
        'detach',
        'handle',
    } <= used
    archive = downloaded(
        'pycuda==2026.1', DOWNLOADS / 'pycuda', '--no-binary=:all:', '--no-build-isolation'
    )
    with tarfile.open(archive) as source:
        text = ''.join(
            source.extractfile(member).read().decode()
            for member in source.getmembers()
            if member.name.endswith(('wrap_cudadrv.cpp', 'pycuda/driver.py'))
        )
    missing = [
        name
        for name in used
        if not any(
            form in text for form in (f'"{name}"', f'({name})', f'({name},', f'def {name}(')
        )
    ]
    assert missing == []
