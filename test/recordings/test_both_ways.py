# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracking a recording in both directions from its prompts, with a fake runtime."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile

import numpy as np
import pytest
from tracking.fake_runtime import FakeRuntime

from tam_ros.io.frames import Frame, Header
from tam_ros.prompting.prompt_text import PromptSpecError
from tam_ros.recordings import both_ways
from tam_ros.recordings.offline import FramePrompt
from tam_ros.tracking import ClipTracker, FrameError, Prompt, PromptError, TrackerOptions


class Recording:
    """Frames whose first pixel is their index, a tenth of a second apart."""

    name, count, rate_hz = 'fake', None, 10.0

    def __init__(self, frames: int = 9, small_from: int = 99) -> None:
        self.frames, self.small_from = frames, small_from

    def __iter__(self):
        for index in range(self.frames):
            size = (24, 32) if index >= self.small_from else (48, 64)
            rgb = np.zeros((*size, 3), np.uint8)
            rgb[0, 0] = index
            stamp = 100 + index / 10
            yield Frame(stamp, rgb, Header(int(stamp * 1e9), 'camera'))


def click(number, frame, x):
    return FramePrompt(frame, Prompt.points(number, [(x, 20)], [1]), f'{number}@{frame}')


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def tracker(runtime):
    return ClipTracker(runtime, TrackerOptions(max_objects=3))


def test_objects_are_found_before_and_after_their_first_prompt(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    results = list(
        both_ways.track(tracker, Recording(), [click(1, 0, 12), click(2, 5, 50), click(2, 7, 40)])
    )
    assert [one.index for one in results] == [one.tracked.index for one in results] == [*range(9)]
    for index, one in enumerate(results):
        assert one.source.rgb[0, 0, 0] == index
        assert one.tracked.stamp == one.source.stamp == 100 + index / 10
        assert [item.id for item in one.tracked.objects] == [1, 2]
        assert set(np.unique(one.tracked.labels)) == {0, 1, 2}
        first, second = one.tracked.objects
        assert one.tracked.labels[20, 12] == 1 and first.age_frames == index
        assert second.age_frames == index - 5
        assert second.age_seconds == pytest.approx((index - 5) / 10)
    assert results[5].tracked.labels[20, 50] == 2 and results[7].tracked.labels[20, 40] == 2
    assert list(tmp_path.iterdir()) == [], 'no file may be left on disk'


def test_each_object_is_tracked_once_per_direction(tracker, runtime):
    list(both_ways.track(tracker, Recording(), [click(1, 0, 12), click(2, 5, 50)]))
    # 5 frames backwards for object 2; forwards object 1 alone on 1..5, both on 6..8.
    assert [len(bank.rows) for bank in runtime.banks] == [1] * 5 + [1] * 5 + [2] * 3


def test_prompts_on_the_first_frame_need_no_disk(tracker, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', '/nonexistent')
    assert len(list(both_ways.track(tracker, Recording(), [click(1, 0, 12)]))) == 9


def test_temporary_folder_that_cannot_be_written(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'gone'))
    message = rf'cannot be kept in {tmp_path}/gone/tam_\w+ \(No such file .*\); set TMPDIR'
    with pytest.raises(both_ways.TemporaryFilesError, match=message):
        list(both_ways.track(tracker, Recording(), [click(1, 3, 12)]))


def test_temporary_folder_that_is_full(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pickle, 'dump', full)
    message = rf'cannot be kept in {tmp_path}/tam_\w+ \(No space left on device\); set TMPDIR'
    with pytest.raises(both_ways.TemporaryFilesError, match=message):
        list(both_ways.track(tracker, Recording(), [click(1, 3, 12)]))
    assert list(tmp_path.iterdir()) == [], 'no file may be left on disk'


@pytest.mark.parametrize(
    ('frames', 'kept'), [([0], 2), ([0, 0, 3], 2), ([0, 3, 5], 3), ([0, 1, 2, 3, 4, 5, 6, 7], 6)]
)
def test_up_to_six_prompted_frames_are_kept(runtime, frames, kept):
    prompts = [click(1, frame, 12 + 4 * frame) for frame in frames] + [click(2, 0, 50)]
    assert both_ways.options_for(prompts).max_conditioning == kept
    tracker = ClipTracker(runtime, TrackerOptions(max_objects=2, max_conditioning=kept))
    list(both_ways.track(tracker, Recording(), prompts))
    shown = runtime.banks[-1]
    conditioning = (shown.temporal_index[0] == 6) & (shown.memory_valid[0] > 0)
    assert conditioning.sum() == min(len(set(frames)), kept)


def test_prompt_after_the_end(tracker):
    with pytest.raises(PromptSpecError, match='frame 20, but the recording ended after 9'):
        list(both_ways.track(tracker, Recording(), [click(1, 0, 12), click(1, 20, 12)]))


def test_refusals_name_the_frame(tracker):
    with pytest.raises(PromptError, match='frame 3: point .* outside'):
        list(both_ways.track(tracker, Recording(), [click(1, 3, 90)]))
    with pytest.raises(FrameError, match='frame 6: .* is 32x24, but those before it are 64x48'):
        list(both_ways.track(tracker, Recording(small_from=6), [click(1, 3, 9)]))
