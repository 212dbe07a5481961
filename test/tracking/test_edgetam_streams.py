# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EdgeTAM in the public tracker, against the results of the official predictor on whole clips.

Objects 0 and 1 of the kit are 1 and 2 here, since id 0 requests a new object.
"""

from __future__ import annotations

import edgekit as kit
import numpy as np
import pytest
import torch

from tam_ros.tracking import FrameResult, Prompt, Tracker, TrackerOptions
from tam_ros.tracking.frame_result import enlarge

pytestmark = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/edgetam) is absent'
)

# Relative to the largest logit. The kit allows 5e-4, as memories are rounded to bfloat16.
TOLERANCE = 1e-4
AREA = 3  # pixels of the image


@pytest.fixture(scope='module')
def open_tracker(tmp_path_factory):
    """Return a function that opens a tracker with the weights of the kit, in a separate cache."""
    folder = tmp_path_factory.mktemp('checkpoints')
    patch = pytest.MonkeyPatch()
    patch.setenv('TAM_ROS_CACHE', str(folder / 'cache'))

    def opened(absent=False, runtime='onnxruntime', model='edgetam'):
        path = folder / f'edgetam{"_absent" * absent}.pt'
        if not path.exists():
            state = kit.state_dict(absent)
            torch.save({'model': {key: torch.from_numpy(x) for key, x in state.items()}}, path)
        return Tracker.open(
            model,
            weights=path,
            runtime=runtime,
            threads=2,
            options=TrackerOptions(refined_frames_condition=False),
        )

    yield opened
    patch.undo()


def click() -> Prompt:
    """The kit's click on object 0."""
    return Prompt.points(1, [kit.about()['point']], [1])


def mask() -> Prompt:
    """The kit's mask of object 1."""
    return Prompt.mask(2, kit.module('inputs').prompt_mask('open'))


def compare(frame: FrameResult, name: str, ids: tuple[int, ...] = (1,)) -> None:
    """Compare some objects of a result with the reference."""
    arrays = kit.reference()
    found = {item.id: item for item in frame.objects}
    for number in ids:
        item, where = found[number], f'{name}/o{number - 1}'
        expected = arrays[f'{where}/mask']
        logits = enlarge(item.logits, *item.mask.shape)[::8, ::8]
        assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max(), where
        assert abs(item.area - arrays[f'{where}/area'][0]) <= AREA, where
        assert abs(item.score_logit - arrays[f'{where}/score'][0]) < TOLERANCE * 32, where


def track(tracker: Tracker, frames, prompts: dict[int, list[Prompt]]) -> list[FrameResult]:
    """Reset a tracker and track through frames."""
    tracker.reset()
    return [tracker.step(image, t / 10, prompts.get(t, ())) for t, image in enumerate(frames)]


@pytest.mark.parametrize(
    ('runtime', 'count'),
    [
        ('torch', 3),
        pytest.param('onnxruntime', 5, marks=pytest.mark.slow),
        pytest.param('torch', 10, marks=pytest.mark.exhaustive),
    ],
)
def test_click_and_mask_tracked_together(open_tracker, runtime, count):
    """Two objects at once, which the official code itself cannot track."""
    tracker = open_tracker(runtime=runtime)
    frames = track(tracker, kit.frames()[:count], {0: [click(), mask()]})
    for t, frame in enumerate(frames):
        compare(frame, f'vid_two/f{t:02}', ids=(1, 2))


@pytest.mark.slow
def test_refinement(open_tracker):
    about = kit.about()
    at = about['refine_frame']
    refine = Prompt.points(1, about['refine_pts'], about['refine_lbl'])
    frames = track(open_tracker(), kit.frames()[: at + 3], {0: [click(), mask()], at: [refine]})
    refined = np.stack([enlarge(item.logits, 240, 320) for item in frames[at].objects])
    assert kit.deviation(refined[:, None], 'vid_two/refine_prompt') < TOLERANCE
    compare(frames[at], f'vid_two_refined/f{at:02}', ids=(1, 2))
    for t in (at + 1, at + 2):
        # The official predictor encodes the memories of all objects on a refined frame as those
        # of prompted masks; here only that of the refined object.
        compare(frames[t], f'vid_two_refined/f{t:02}')


@pytest.mark.slow
def test_box_in_real_video(open_tracker):
    box = Prompt.box(1, kit.about()['real_box'])
    for t, frame in enumerate(track(open_tracker(), kit.real_frames(6), {0: [box]})):
        compare(frame, f'vid_real/f{t:02}')


@pytest.mark.slow
def test_more_frames_than_the_bank_keeps(open_tracker):
    frames = kit.frames()
    frames += frames[:8]
    for t, frame in enumerate(track(open_tracker(), frames, {0: [click()]})):
        compare(frame, f'vid_long/f{t:02}')


@pytest.mark.slow
def test_object_that_is_absent(open_tracker):
    # With torch, as these weights are used only here: exporting them takes longer.
    tracker = open_tracker(absent=True, runtime='torch')
    frames = track(tracker, kit.frames()[:3], {0: [click()]})
    for t, frame in enumerate(frames):
        assert not frame.objects[0].mask.any()
        compare(frame, f'vid_absent/f{t:02}')


@pytest.mark.slow
@pytest.mark.parametrize(
    'model', ['edgetam_512', pytest.param('edgetam_768', marks=pytest.mark.exhaustive)]
)
def test_smaller_inputs_give_the_same_masks_in_every_runtime(open_tracker, model):
    """There are no official results for these sizes; the weights are those for 1024 pixels."""
    runs = [
        track(
            open_tracker(runtime=runtime, model=model),
            kit.frames()[:4],
            {0: [click()], 1: [mask()]},
        )
        for runtime in ('torch', 'onnxruntime')
    ]
    for ours, theirs in zip(*runs, strict=True):
        assert ours.objects
        for one, other in zip(ours.objects, theirs.objects, strict=True):
            assert np.abs(one.logits - other.logits).max() < 1e-3 * np.abs(other.logits).max()
            union = np.count_nonzero(one.mask | other.mask)
            assert union and np.count_nonzero(one.mask & other.mask) >= 0.999 * union
