# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Objects saved to a file and loaded by a later run."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tam_ros.tracking import Prompt, PromptError, SavedTracksError, Tracker, TrackerOptions
from tracking.fake_runtime import SPEC, FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


class Counting(FakeRuntime):
    """Every memory is different, so that an exchange of slots would be noticed."""

    def memory_encoder(self, features, masks, prompted):
        return super().memory_encoder(features, masks, prompted) + len(self.prompted)


def attended(runtime):
    """Return the temporal index and the memory of each slot that the last image attended to."""
    bank = runtime.banks[-1]
    assert bank.memory_valid[0].sum() == 7
    return sorted(
        (index, runtime.memories[bank.rows[0], slot].tobytes())
        for slot, index in zip(bank.memory_slots[0], bank.temporal_index[0], strict=True)
    )


def tracked(frames=30, **options):
    tracker = Tracker(Counting(), TrackerOptions(max_objects=4, **options))
    prompts = [Prompt.points(3, [(16, 12)], [1]), Prompt.points(7, [(50, 40)], [1])]
    for i in range(frames):
        tracker.step(IMAGE, i / 10, [] if i else prompts)
    return tracker


@pytest.mark.parametrize('options', [{}, {'prompt_history_seconds': 1.0}, {'max_conditioning': 3}])
def test_objects_continue_in_a_later_run(tmp_path, options):
    before = tracked()
    before.remove(3)
    before.save(tmp_path / 'tracks.npz')
    after = Tracker(FakeRuntime(), TrackerOptions(max_objects=2, **options))
    after.load(tmp_path / 'tracks.npz')
    assert after.objects == (7,)
    # Another run has another clock: its first stamp is independent of the saved run.
    expected, found = before.step(IMAGE, 3.0), after.step(IMAGE, 500.0)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.objects[0].age_frames == expected.objects[0].age_frames == 30
    saved, loaded = attended(before._runtime), attended(after._runtime)
    assert len({memory for _, memory in saved}) == 7, 'every memory is different'
    assert loaded == saved
    with pytest.raises(PromptError, match='object 3 was removed'):
        after.step(IMAGE, 501.0, [Prompt.points(3, [(1, 1)], [1])])


def test_the_image_size_is_saved(tmp_path):
    tracked().save(tmp_path / 'tracks.npz')
    after = Tracker(FakeRuntime())
    after.load(tmp_path / 'tracks.npz')
    with pytest.raises(ValueError, match='prompted on images of 64x48'):
        after.step(np.zeros((24, 32, 3), np.uint8), 0.0)


def other_weights(path):
    return replace(SPEC, fingerprint='another')


def other_model(path):
    return replace(SPEC, name='another')


def truncated(path):
    path.write_bytes(path.read_bytes()[:200])
    return SPEC


def plain_text(path):
    path.write_text('not an archive')
    return SPEC


def missing(path):
    path.unlink()
    return SPEC


def pickled(path):
    np.savez(path.open('wb'), about=np.array([{}], object))
    return SPEC


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (other_weights, 'which fake with weights another cannot use'),
        (other_model, 'memories of fake with weights fake, which another'),
        (truncated, 'cannot be read'),
        (plain_text, 'cannot be read'),
        (pickled, 'cannot be read'),
        (missing, 'does not exist'),
    ],
)
def test_an_unusable_file_is_refused_and_nothing_changes(tmp_path, damage, message):
    path = tmp_path / 'tracks.npz'
    tracked().save(path)
    tracker = Tracker(FakeRuntime(damage(path)))
    tracker.step(IMAGE, 0.0, [Prompt.points(5, [(20, 20)], [1])])
    with pytest.raises(SavedTracksError, match=message):
        tracker.load(path)
    assert [item.id for item in tracker.step(IMAGE, 0.1).objects] == [5]


def test_more_objects_than_max_objects(tmp_path):
    tracked().save(tmp_path / 'tracks.npz')
    with pytest.raises(SavedTracksError, match='contains 2 objects; max_objects is 1'):
        Tracker(FakeRuntime(), TrackerOptions(max_objects=1)).load(tmp_path / 'tracks.npz')


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'tracks.npz'
    tracked().save(path)
    old = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez_compressed', full)
    with pytest.raises(OSError, match='No space'):
        tracked().save(path)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ['tracks.npz']


def rewrite(path, change):
    """Change the description and the arrays of a file."""
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays.pop('about')))
    change(about, arrays)
    with path.open('wb') as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)


def setting(**values):
    return lambda about, _: about.update(values)


def of_the_first(**values):
    return lambda about, _: about['objects'][0].update(values)


def entry(**values):
    return lambda about, _: about['objects'][0]['bank']['memories'][0].update(values)


def number(name, value):
    def change(_, arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][0] = value

    return change


@pytest.mark.parametrize(
    'change',
    [
        setting(used=[0, 3, 7]),
        setting(used=[3, 7, 70000]),
        setting(used=[3]),
        setting(used=['3', 7]),
        setting(index=-1),
        setting(index='5'),
        setting(seconds=float('nan')),
        setting(size=[0, 10]),
        setting(size=[10]),
        setting(size=[1e9, 1]),
        setting(objects={}),
        setting(objects=[5]),
        of_the_first(id=7),
        of_the_first(id=True),
        of_the_first(born_index=None),
        of_the_first(seen_at=float('inf')),
        of_the_first(bank={'memories': 5, 'pointers': 5}),
        entry(frame='a'),
        entry(time=2.5),
        entry(conditioning=1),
        entry(time=10**30),
        entry(other=1),
        number('memories_3', 0x7FC0),
        number('pointers_3', np.nan),
        lambda _, arrays: arrays.update(unexpected=np.zeros(3)),
        lambda _, arrays: arrays.pop('memories_3'),
        lambda _, arrays: arrays.update(memories_3=arrays['memories_3'][:1]),
        lambda _, arrays: arrays.update(memories_3=arrays['memories_3'].astype(float)),
        lambda _, arrays: arrays.update(pointers_3=np.zeros(3)),
    ],
)
def test_wrong_values_are_refused(tmp_path, change):
    path = tmp_path / 'tracks.npz'
    tracked(3).save(path)
    rewrite(path, change)
    with pytest.raises(SavedTracksError, match=r'tracks\.npz'):
        Tracker(FakeRuntime()).load(path)


def test_large_arrays_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / 'tracks.npz'
    tracked(3).save(path)
    rewrite(path, lambda _, arrays: arrays.update(memories_3=np.zeros(1 << 27, np.uint8)))
    tracemalloc.start()
    with pytest.raises(SavedTracksError, match='memories_3 has shape'):
        Tracker(FakeRuntime()).load(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_every_damaged_file_is_refused_or_read(tmp_path):
    path = tmp_path / 'tracks.npz'
    tracked(3).save(path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            Tracker(FakeRuntime()).load(path)
        except SavedTracksError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert refused > 50


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / 'tracks.npz')
    with pytest.raises(SavedTracksError, match='not a regular file'):
        Tracker(FakeRuntime()).load(tmp_path / 'tracks.npz')
