# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The shared options of commands cover the table of backends."""

from __future__ import annotations

import argparse

import pytest

from tam_ros.commands import UsageError, backend
from tam_ros.runtime.backends import AUTO, BACKENDS, RUNTIMES


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    backend.add_backend_options(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_every_runtime_and_precision_can_be_chosen(runtime):
    for precision in (AUTO, *BACKENDS[runtime].precisions):
        options = parse('--runtime', runtime, '--precision', precision)
        arguments = backend.runtime_arguments(options)
        assert (arguments['runtime'], arguments['precision']) == (runtime, precision)


def test_defaults():
    arguments = backend.runtime_arguments(parse())
    assert (arguments['runtime'], arguments['precision']) == ('onnxruntime', AUTO)


def test_a_precision_of_another_runtime():
    with pytest.raises(UsageError, match="onnxruntime does not compute in 'bf16'"):
        backend.runtime_arguments(parse('--runtime', 'onnxruntime', '--precision', 'bf16'))


def test_options_become_arguments():
    options = parse('--runtime', 'tensorrt', '--precision', 'fp32', '--zero-copy')
    arguments = backend.runtime_arguments(options)
    engines = arguments.pop('engines')
    assert (engines.zero_copy, engines.cuda_graphs, engines.build) == (True, False, 'never')
    assert arguments == {
        'model': 'efficienttam_nano',
        'weights': None,
        'runtime': 'tensorrt',
        'threads': None,
        'precision': 'fp32',
    }
