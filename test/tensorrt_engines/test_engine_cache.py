# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: found only if everything matches, loaded only if no other user wrote them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace

import pytest

from tam_ros.tensorrt.builder import BuildCancelledError
from tam_ros.tensorrt.engine_cache import (
    EngineCache,
    UntrustedError,
    read_trusted,
    write_private,
)
from tam_ros.tensorrt.identity import Identity, jetpack, l4t_release

PLAN = b'native code'


@pytest.fixture
def identity(machine) -> Identity:
    return Identity('efficienttam_nano', 'mask_decoder', 'fp16', 'ab' * 32, machine)


@pytest.fixture
def saved(cache, identity):
    cache.save(identity, PLAN, objects=4, built_from='fp16', check='fine')
    (entry,) = cache.entries()
    return entry


def test_a_saved_engine_is_found(cache, identity, saved):
    found = cache.find(identity)
    assert found.plan == PLAN and found.record.objects == 4 and not found.reason
    assert cache.find(identity, max_batch=4).plan == PLAN
    assert cache.verify(saved) == ''


def test_files_are_private_to_the_user(cache, saved):
    for path in (cache.root, saved.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (saved.path, saved.path.with_suffix('.json')):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(saved.path.parent.glob('.*')), 'no temporary files are left'


@pytest.mark.parametrize(
    ('change', 'difference'),
    [
        ({'tensorrt': '10.13.3'}, 'tensorrt is 10.3.0, not 10.13.3'),
        ({'gpu': 'Orin NX'}, 'gpu is Fake Orin, not Orin NX'),
        ({'compute_capability': '11.0'}, 'compute_capability is 8.7, not 11.0'),
        ({'multiprocessors': 16}, 'multiprocessors is 8, not 16'),
        ({'cuda': '13.0'}, 'cuda is 12.6, not 13.0'),
        ({'l4t': '38.2'}, 'l4t is 36.4.3, not 38.2'),
    ],
)
def test_an_engine_of_another_machine_is_not_used_and_the_difference_is_named(
    cache, identity, saved, change, difference
):
    other = replace(identity, machine=replace(identity.machine, **change))
    found = cache.find(other)
    assert found.plan is None
    assert found.reason == f'the engine of mask_decoder does not match: {difference}'


def test_an_engine_of_another_graph_or_precision_is_not_used(cache, identity, saved):
    assert (
        'onnx_sha256 is abababababab…, not cdcdcdcdcdcd…'
        in cache.find(replace(identity, onnx_sha256='cd' * 32)).reason
    )
    assert 'precision is fp16, not fp32' in cache.find(replace(identity, precision='fp32')).reason
    assert 'format is 1, not 2' in cache.find(replace(identity, format=2)).reason
    assert (
        cache.find(replace(identity, graph='memory_encoder')).reason
        == 'efficienttam_nano has no engine of memory_encoder yet'
    )
    assert (
        cache.find(identity, max_batch=8).reason
        == 'the engine of mask_decoder was built for at most 4 objects per run, not 8'
    )


def test_the_difference_is_from_the_most_similar_engine(cache, identity, saved):
    far = replace(identity, machine=replace(identity.machine, gpu='A', cuda='1', tensorrt='9'))
    cache.save(far, PLAN, objects=1, built_from='fp16', check='')
    near = replace(identity, machine=replace(identity.machine, tensorrt='11'))
    assert cache.find(near).reason.endswith('does not match: tensorrt is 10.3.0, not 11')


def test_engines_of_two_machines_lie_side_by_side(cache, identity, saved):
    other = replace(identity, machine=replace(identity.machine, gpu='Orin NX'))
    cache.save(other, b'other code', objects=4, built_from='fp16', check='')
    assert (cache.find(identity).plan, cache.find(other).plan) == (PLAN, b'other code')


def test_a_changed_plan_is_not_used(cache, identity, saved):
    saved.path.write_bytes(b'other code')
    assert 'was changed after it was built' in cache.find(identity).reason
    assert 'was changed after it was built' in cache.verify(saved)


def test_a_plan_that_other_users_may_write_is_not_used(cache, identity, saved):
    saved.path.chmod(0o666)
    assert 'other users may write' in cache.find(identity).reason
    saved.path.chmod(0o600)
    saved.path.parent.chmod(0o777)
    assert 'other users may write' in cache.find(identity).reason


def test_a_link_is_not_followed(cache, identity, saved, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.write_bytes(PLAN)
    saved.path.unlink()
    saved.path.symlink_to(elsewhere)
    assert 'is not used' in cache.find(identity).reason


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can change the owner')
def test_a_plan_of_another_user_is_not_used(cache, identity, saved):
    os.chown(saved.path, 12345, -1)
    assert 'belongs to another user (uid 12345)' in cache.find(identity).reason
    os.chown(saved.path, 0, -1)
    os.chown(cache.root, 12345, -1)
    assert 'belongs to another user' in cache.find(identity).reason
    with pytest.raises(UntrustedError, match='belongs to another user'):
        cache.save(identity, PLAN, objects=1, built_from='fp16', check='')


def test_an_open_folder_is_made_private_before_anything_is_saved(cache, identity):
    cache.root.mkdir(mode=0o777)
    cache.root.chmod(0o777)
    cache.save(identity, PLAN, objects=1, built_from='fp16', check='')
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700


@pytest.mark.parametrize('text', ['', '{}', '[1]', '{"identity": 3}', 'nonsense'])
def test_an_engine_without_a_readable_record_is_ignored(cache, identity, saved, text):
    saved.path.with_suffix('.json').write_text(text)
    assert cache.find(identity).plan is None
    (entry,) = cache.entries()
    assert cache.verify(entry) == 'has no readable record'


def test_a_record_of_another_engine_is_not_accepted(cache, identity, saved):
    file = saved.path.with_suffix('.json')
    record = json.loads(file.read_text())
    record['identity']['gpu'] = 'Orin NX'
    file.write_text(json.dumps(record))
    assert (
        'the record of the engine of mask_decoder belongs to another engine'
        in cache.find(identity).reason
    )


def test_a_plan_without_a_record_is_ignored_and_replaced(cache, identity, saved):
    saved.path.with_suffix('.json').unlink()
    assert cache.find(identity).plan is None
    cache.save(identity, b'new', objects=1, built_from='fp16', check='')
    assert cache.find(identity).plan == b'new'


def test_a_failed_write_leaves_the_old_file_intact(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    write_private(path, b'old')
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        write_private(path, b'new')
    assert read_trusted(path) == b'old' and list(tmp_path.iterdir()) == [path]


def test_deleting_leaves_no_files(cache, identity, saved):
    cache.delete(saved)
    assert cache.entries() == [] and not saved.path.parent.exists()
    cache.discard(identity)


def test_timings_are_saved_for_each_machine(cache, machine):
    assert cache.timings(machine.key()) == b''
    cache.save_timings(machine.key(), b'timed')
    assert cache.timings(machine.key()) == b'timed'
    assert cache.timings(replace(machine, multiprocessors=16).key()) == b''


def test_only_one_process_builds_and_waiting_can_be_cancelled(cache):
    waiting = []
    other = EngineCache(cache.root)
    with (
        cache.locked(),
        pytest.raises(BuildCancelledError, match='waiting for another build'),
        other.locked(lambda: waiting.append(1), lambda: bool(waiting)),
    ):
        raise AssertionError('both hold the lock')
    assert waiting == [1]
    with other.locked(lambda: waiting.append(2)):
        pass
    assert waiting == [1]


@pytest.mark.parametrize(
    ('text', 'release', 'major'),
    [
        (
            '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64',
            '36.4.3',
            '6',
        ),
        ('# R39 (release), REVISION: 2.0, GCID: 1\nR2', '39.2.0', '7'),
        ('Ubuntu', '', ''),
    ],
)
def test_release_of_jetson_linux(tmp_path, text, release, major):
    file = tmp_path / 'nv_tegra_release'
    file.write_text(text)
    assert l4t_release(file) == release
    assert jetpack(release) == major
    assert l4t_release(tmp_path / 'absent') == ''
