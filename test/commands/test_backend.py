# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The options of commands are those of the runtimes."""

from __future__ import annotations

import argparse

from tam_ros import loading as factory
from tam_ros.commands import backend


def test_every_runtime_and_precision_can_be_asked_for():
    assert set(backend.RUNTIMES) == set(factory.RUNTIMES)
    assert backend.RUNTIMES[0] == 'onnxruntime', 'the default'
    every = {precision for row in factory.PRECISIONS.values() for precision in row}
    assert set(backend.PRECISIONS) == {factory.AUTO, *every}


def test_options_become_arguments():
    parser = argparse.ArgumentParser()
    backend.add_backend_options(parser)
    options = parser.parse_args(['--runtime', 'tensorrt', '--precision', 'fp32', '--zero-copy'])
    arguments = backend.backend(options)
    engines = arguments.pop('engines')
    assert (engines.zero_copy, engines.cuda_graphs, engines.build) == (True, False, 'never')
    assert arguments == {
        'model': 'efficienttam_nano',
        'weights': None,
        'runtime': 'tensorrt',
        'threads': None,
        'precision': 'fp32',
    }
