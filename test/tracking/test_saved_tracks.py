# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Objects saved to a file and loaded by a later run."""

from __future__ import annotations

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
