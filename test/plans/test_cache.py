# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Plans on disk: found only by what they belong to, loaded only if nobody else wrote them."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace

import pytest

from tam_ros.tensorrt.engine_cache import PlanCache, UntrustedError, read_trusted, write_private
from tam_ros.tensorrt.failures import BuildCancelledError
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


def test_what_was_saved_is_found(cache, identity, saved):
    found = cache.find(identity)
    assert found.plan == PLAN and found.record.objects == 4 and not found.reason
    assert cache.find(identity, objects=4).plan == PLAN
    assert cache.verify(saved) == ''


def test_everything_is_the_users_alone(cache, saved):
    for path in (cache.root, saved.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (saved.path, saved.path.with_suffix('.json')):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(saved.path.parent.glob('.*')), 'no drafts are left'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'tensorrt': '10.13.3'}, 'tensorrt is 10.3.0, not 10.13.3'),
        ({'gpu': 'Orin NX'}, 'gpu is Fake Orin, not Orin NX'),
        ({'compute_capability': '11.0'}, 'compute_capability is 8.7, not 11.0'),
        ({'multiprocessors': 16}, 'multiprocessors is 8, not 16'),
        ({'cuda': '13.0'}, 'cuda is 12.6, not 13.0'),
        ({'l4t': '38.2'}, 'l4t is 36.4.3, not 38.2'),
    ],
)
def test_a_plan_of_another_machine_is_not_used_and_it_is_said_why(
    cache, identity, saved, change, said
):
    other = replace(identity, machine=replace(identity.machine, **change))
    found = cache.find(other)
    assert found.plan is None
    assert found.reason == f'the engine of mask_decoder is another: {said}'


def test_a_plan_of_another_graph_or_precision_is_not_used(cache, identity, saved):
    assert (
        'onnx_sha256 is abababababab…, not cdcdcdcdcdcd…'
        in cache.find(replace(identity, onnx_sha256='cd' * 32)).reason
    )
    assert 'precision is fp16, not fp32' in cache.find(replace(identity, precision='fp32')).reason
    assert 'format is 1, not 2' in cache.find(replace(identity, format=2)).reason
    assert (
        cache.find(replace(identity, graph='memory_encoder')).reason
        == 'there is no engine of memory_encoder for efficienttam_nano yet'
    )
    assert 'takes 4 objects at a go, not 8' in cache.find(identity, objects=8).reason


def test_the_nearest_plan_is_what_the_difference_is_from(cache, identity, saved):
    far = replace(identity, machine=replace(identity.machine, gpu='A', cuda='1', tensorrt='9'))
    cache.save(far, PLAN, objects=1, built_from='fp16', check='')
    near = replace(identity, machine=replace(identity.machine, tensorrt='11'))
    assert cache.find(near).reason.endswith('is another: tensorrt is 10.3.0, not 11')


def test_plans_of_two_machines_live_beside_each_other(cache, identity, saved):
    other = replace(identity, machine=replace(identity.machine, gpu='Orin NX'))
    cache.save(other, b'other code', objects=4, built_from='fp16', check='')
    assert (cache.find(identity).plan, cache.find(other).plan) == (PLAN, b'other code')


def test_a_plan_that_was_changed_is_not_used(cache, identity, saved):
    saved.path.write_bytes(b'other code')
    assert 'was changed since it was built' in cache.find(identity).reason
    assert 'was changed since it was built' in cache.verify(saved)


def test_a_plan_that_others_may_write_is_not_used(cache, identity, saved):
    saved.path.chmod(0o666)
    assert 'others may write' in cache.find(identity).reason
    saved.path.chmod(0o600)
    saved.path.parent.chmod(0o777)
    assert 'others may write' in cache.find(identity).reason


def test_a_link_is_not_followed(cache, identity, saved, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.write_bytes(PLAN)
    saved.path.unlink()
    saved.path.symlink_to(elsewhere)
    assert 'is not used' in cache.find(identity).reason


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_a_plan_of_somebody_else_is_not_used(cache, identity, saved):
    os.chown(saved.path, 12345, -1)
    assert 'belongs to somebody else (uid 12345)' in cache.find(identity).reason
    os.chown(saved.path, 0, -1)
    os.chown(cache.root, 12345, -1)
    assert 'belongs to somebody else' in cache.find(identity).reason
    with pytest.raises(UntrustedError, match='belongs to somebody else'):
        cache.save(identity, PLAN, objects=1, built_from='fp16', check='')


def test_a_folder_that_was_open_is_closed_before_anything_is_kept_there(cache, identity):
    cache.root.mkdir(mode=0o777)
    cache.root.chmod(0o777)
    cache.save(identity, PLAN, objects=1, built_from='fp16', check='')
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700


@pytest.mark.parametrize('text', ['', '{}', '[1]', '{"identity": 3}', 'nonsense'])
def test_a_record_that_cannot_be_read_does_not_count(cache, identity, saved, text):
    saved.path.with_suffix('.json').write_text(text)
    assert cache.find(identity).plan is None
    (entry,) = cache.entries()
    assert cache.verify(entry) == 'has no record that can be read'


def test_a_record_of_something_else_does_not_count(cache, identity, saved):
    file = saved.path.with_suffix('.json')
    record = json.loads(file.read_text())
    record['identity']['gpu'] = 'Orin NX'
    file.write_text(json.dumps(record))
    assert 'has a record of something else' in cache.find(identity).reason


def test_a_plan_without_its_record_is_what_an_interruption_leaves(cache, identity, saved):
    saved.path.with_suffix('.json').unlink()
    assert cache.find(identity).plan is None
    cache.save(identity, b'new', objects=1, built_from='fp16', check='')
    assert cache.find(identity).plan == b'new'


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    write_private(path, b'old')
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        write_private(path, b'new')
    assert read_trusted(path) == b'old' and list(tmp_path.iterdir()) == [path]


def test_deleting_leaves_nothing(cache, identity, saved):
    cache.delete(saved)
    assert cache.entries() == [] and not saved.path.parent.exists()
    cache.discard(identity)


def test_timings_are_kept_by_machine(cache, machine):
    assert cache.timings(machine.key()) == b''
    cache.save_timings(machine.key(), b'timed')
    assert cache.timings(machine.key()) == b'timed'
    assert cache.timings(replace(machine, multiprocessors=16).key()) == b''


def test_two_do_not_build_at_once_and_waiting_can_be_cancelled(cache):
    told, stop = [], threading.Event()
    other = PlanCache(cache.root)
    with cache.locked():
        threading.Timer(0.2, stop.set).start()
        with (
            pytest.raises(BuildCancelledError, match='waiting for another build'),
            other.locked(lambda: told.append(1), stop.is_set),
        ):
            raise AssertionError('two at once')
    assert told == [1]
    with other.locked(lambda: told.append(2)):
        pass
    assert told == [1]


@pytest.mark.parametrize(
    ('text', 'release', 'line'),
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
def test_release_of_jetson_linux(tmp_path, text, release, line):
    file = tmp_path / 'nv_tegra_release'
    file.write_text(text)
    assert l4t_release(file) == release
    assert jetpack(release) == line
    assert l4t_release(tmp_path / 'absent') == ''
