# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Building engines, with a fake and, where it is installed, with TensorRT for RTX."""

from __future__ import annotations

import pytest
from fakes import trt as fake_trt

from tam_ros.graph_files import graph_file
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.builder import (
    BuildCancelledError,
    BuildSettings,
    OutOfMemoryError,
    Phases,
    build_engine,
    build_error,
    workspace_limit_mb,
)


@pytest.fixture(scope='module')
def rtx():
    """Return TensorRT for RTX."""
    pytest.importorskip(
        'tensorrt_rtx_libs',
        reason='the wheels tensorrt-rtx-cu13-libs and -bindings 1.7.1.116 are not installed',
    )
    import importlib

    return importlib.import_module('fakes.rtx')


@pytest.fixture
def memory_encoder(folder):
    return graph_file(folder, 'memory_encoder', 'fp32').read_bytes()


@pytest.mark.slow
def test_a_graph_is_built_with_progress_and_a_timing_cache(rtx, memory_encoder):
    reports = []
    built = build_engine(
        rtx,
        'memory_encoder',
        memory_encoder,
        BuildSettings(max_batch=4, workspace_mb=1000),
        report=lambda phase, fraction: reports.append((phase, fraction)),
    )
    assert len(built.plan) > 1_000_000 and built.timings
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert len(set(fractions)) > 20
    assert any('Building engine' in phase for phase, _ in reports)


@pytest.mark.slow
def test_a_running_build_is_cancelled(rtx, memory_encoder):
    seen = []
    with pytest.raises(BuildCancelledError, match='building memory_encoder was cancelled'):
        build_engine(
            rtx,
            'memory_encoder',
            memory_encoder,
            BuildSettings(),
            report=lambda phase, fraction: seen.append(fraction),
            cancelled=lambda: len(seen) > 10,
        )
    assert 10 < len(seen) < 100


def test_a_damaged_graph_is_refused_by_the_real_parser(rtx, memory_encoder):
    with pytest.raises(EngineError, match='cannot parse the graph memory_encoder: .+'):
        build_engine(rtx, 'memory_encoder', memory_encoder[:100_000], BuildSettings())


def test_the_profile_is_one_to_the_largest_batch_and_the_workspace_is_limited(memory_encoder):
    trt = fake_trt.make()
    build_engine(
        trt, 'memory_encoder', memory_encoder, BuildSettings(max_batch=6, workspace_mb=700)
    )
    ((_, config),) = trt.Builder.made
    (profile,) = config.profiles
    assert {shapes[0][0] for shapes in profile.shapes.values()} == {1}
    assert {shapes[2][0] for shapes in profile.shapes.values()} == {6}
    assert set(profile.shapes) == {'masks', 'prompted'}, (
        'features are of one image, not of a batch'
    )
    assert config.limits == {trt.MemoryPoolType.WORKSPACE: 700_000_000}


def test_timings_of_another_version_are_discarded(memory_encoder):
    trt = fake_trt.make()
    built = build_engine(trt, 'memory_encoder', memory_encoder, BuildSettings(), b'of another')
    assert built.timings == b'timings'


@pytest.mark.parametrize(
    'text',
    [
        'Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode})',
        'Requested amount of GPU memory (2147483648 bytes) could not be allocated.',
        '[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (no further '
        'information)',
        'std::bad_alloc',
        'NvMapMemAllocInternalTagged: 1075072515 error 12',
        'Cuda Runtime (out of memory)',
    ],
)
def test_out_of_memory_is_recognised_and_reported_with_advice(memory_encoder, text):
    trt = fake_trt.make()
    trt.Builder.fail['memory'] = text
    with pytest.raises(OutOfMemoryError) as caught:
        build_engine(trt, 'memory_encoder', memory_encoder, BuildSettings(), free_mb=431.0)
    message = str(caught.value)
    assert 'building memory_encoder ran out of memory (431 MB were free)' in message
    for advice in ('swap', '--workspace', '--max-objects', 'multi-user.target'):
        assert advice in message


def test_other_failures_are_not_reported_as_out_of_memory():
    error = build_error('mask_decoder', ['Assertion failed: shape', 'API Usage Error'])
    assert not isinstance(error, OutOfMemoryError)
    assert str(error) == 'TensorRT cannot build mask_decoder: Assertion failed: shape'


def test_a_library_that_does_not_start_is_reported(memory_encoder):
    def nothing(_):
        raise TypeError('factory function returned nullptr')

    with pytest.raises(EngineError, match='factory function returned nullptr'):
        build_engine(
            fake_trt.make(Builder=nothing), 'memory_encoder', memory_encoder, BuildSettings()
        )


@pytest.mark.parametrize(
    ('free', 'cap', 'limit'),
    [(4000, None, 3488), (4000, 1000, 1000), (1000, 2000, 488), (300, None, 64)],
)
def test_the_workspace_is_free_memory_less_a_margin(free, cap, limit):
    assert workspace_limit_mb(free, cap) == limit


def test_nested_phases_make_one_fraction_that_never_decreases():
    phases = Phases()
    phases.start('build', None, 2)
    phases.start('inner', 'build', 4)
    phases.step('inner', 0)
    assert phases.fraction == 0.125 and phases.current == 'inner'
    phases.finish('inner')
    assert phases.fraction == 0.125, 'it does not decrease'
    phases.step('build', 0)
    phases.start('empty', 'build', 0)
    assert phases.fraction == 0.5
    phases.step('unknown', 3)
    phases.step('build', 1)
    phases.finish('build')
    assert phases.fraction == 1
