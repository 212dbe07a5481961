# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clocks that step back, late and repeated frames: the same rule in all kinds of tracking."""

from __future__ import annotations

import numpy as np
import pytest
from tracking.fake_runtime import FakeRuntime

from tam_ros.io.frames import Frame, Header
from tam_ros.recordings import both_ways, offline
from tam_ros.recordings.offline import FramePrompt
from tam_ros.recordings.timeline import timeline
from tam_ros.tracking import ClipTracker, FrameError, Prompt, Tracker

START = 1_700_000_000


class Recording:
    """Black frames with the given stamps, seconds after `START`."""

    name, count, rate_hz = 'fake', None, 10.0

    def __init__(self, stamps, sizes=()):
        self.stamps, self.sizes = stamps, dict(sizes)

    def __iter__(self):
        for index, stamp in enumerate(self.stamps):
            header = Header(round((START + stamp) * 1e9), 'camera')
            rgb = np.zeros((*self.sizes.get(index, (48, 64)), 3), np.uint8)
            yield Frame(header.stamp, rgb, header)


STEPS_BACK = Recording([0.0, 0.1, 0.2, -3600.0, -3599.9, -3599.8])


def click(frame=0):
    return FramePrompt(frame, Prompt.points(1, [(20, 20)], [1]), 'click')


def track(kind, source, prompts):
    if kind == 'forwards':
        return list(offline.track(Tracker(FakeRuntime()), source, prompts))
    return list(both_ways.track(ClipTracker(FakeRuntime()), source, prompts))


@pytest.mark.parametrize('frame', [0, 4])
@pytest.mark.parametrize('kind', ['forwards', 'both ways'])
def test_objects_are_kept_when_the_clock_steps_back(kind, frame, caplog):
    results = track(kind, STEPS_BACK, [click(frame)])
    assert [one.index for one in results] == [*range(6)]
    ages = [one.tracked.objects[0].age_seconds for one in results if one.tracked.objects]
    assert len(ages) == (6 if kind == 'both ways' else 6 - frame)
    # The interval of the step itself is unknown.
    assert ages[-1] == pytest.approx(0.4 if frame == 0 else 0.1, abs=1e-4)
    assert [one.tracked.stamp for one in results] == [frame.stamp for frame in STEPS_BACK]
    assert [record.message for record in caplog.records] == [
        'frame 3: time went back by 3600.200 s: objects are kept, the clock restarts'
    ]


@pytest.mark.parametrize('kind', ['forwards', 'both ways'])
def test_late_and_repeated_frames_are_skipped_in_one_line(kind, caplog):
    source = Recording([0.0, 0.1, 0.1, 0.05, 0.2, 0.2, 0.3])
    results = track(kind, source, [click(2)])  # which is applied to the next frame
    assert [one.index for one in results] == [0, 1, 4, 6]
    born = [one.index for one in results if one.tracked.objects]
    assert born == ([0, 1, 4, 6] if kind == 'both ways' else [4, 6])
    (record,) = caplog.records
    assert record.message.startswith('3 frames skipped, the first was frame 2: ')


def test_a_clock_that_always_steps_back_is_one_line(caplog):
    assert len(list(timeline(Recording([0, -10, -20, -30])))) == 4
    (record,) = caplog.records
    assert record.message.endswith('; 3 times in all')


def test_a_frame_of_another_size_is_explained():
    with pytest.raises(FrameError, match='frame 2: the image is 32x24, but those .* 64x48') as no:
        list(timeline(Recording([0, 0.1, 0.2], {2: (24, 32)})))
    assert 'reset' not in str(no.value)
