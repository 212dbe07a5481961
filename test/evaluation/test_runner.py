# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The runner follows the rules of DAVIS and reproduces published and measured scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import ScriptedTracker, first_masks_stay, labels_of, moving, write
from tam_ros.evaluation import report
from tam_ros.evaluation.dataset import DatasetError, open_dataset
from tam_ros.evaluation.runner import RATE_HZ, evaluate_sequence
from tam_ros.tracking import PromptError


def run(root, answer, truth, kind='mask'):
    (sequence,) = open_dataset(write(root, 'a', truth))
    tracker = ScriptedTracker(answer)
    return evaluate_sequence(tracker, sequence, kind), tracker


def test_the_first_and_the_last_frame_are_not_scored(tmp_path):
    truth = moving(9)
    wrong_at = {0, 8}
    scores, tracker = run(tmp_path, lambda t, _: truth[t] * (t not in wrong_at), truth)
    (own,) = scores.objects
    assert own.frames == list(range(1, 8))
    assert own.summary()['J'] == own.summary()['F'] == own.summary()['J&F'] == 1.0
    assert own.summary()['J_prompted_frame'] == 0.0
    assert [stamp * RATE_HZ for stamp, _ in tracker.steps] == pytest.approx(range(9))
    assert [prompts for _, prompts in tracker.steps] == [[1], *[[]] * 8]


def test_a_lost_object_lowers_the_scores(tmp_path):
    truth = moving(10)
    scores, _ = run(tmp_path, lambda t, _: truth[t] * (t < 5), truth)
    summary = scores.objects[0].summary()
    assert summary['J'] == pytest.approx(4 / 8)
    assert summary['J_last_quarter'] == 0.0 and summary['J_decay'] == 1.0


def test_each_object_is_scored_separately(tmp_path):
    truth = [labels_of((1, 5), (2, 30))] * 5
    scores, _ = run(tmp_path, lambda t, _: np.where(truth[t] == 2, 1, truth[t]), truth)
    assert [own.summary()['J'] for own in scores.objects] == [0.5, 0.0]
    assert report.mean([scores])['J'] == 0.25


def test_an_object_is_scored_from_the_frame_after_its_prompt(tmp_path):
    truth = [*[labels_of((1, 5))] * 3, *[labels_of((1, 5), (2, 30))] * 4]
    scores, tracker = run(tmp_path, first_masks_stay, truth)
    assert [prompts for _, prompts in tracker.steps] == [[1], [], [], [2], [], [], []]
    assert [own.frames for own in scores.objects] == [[1, 2, 3, 4, 5], [4, 5]]
    assert [own.prompted_frame for own in scores.objects] == [0, 3]


def test_an_object_that_appears_too_late_is_not_scored(tmp_path):
    truth = [*[labels_of((1, 5))] * 4, labels_of((1, 5), (2, 30)), labels_of((1, 5), (2, 30))]
    scores, _ = run(tmp_path, first_masks_stay, truth)
    assert [own.object_id for own in scores.objects] == [1]


def test_frames_without_truth_are_tracked_and_not_scored(tmp_path):
    truth = [labels_of((1, 5)), None, labels_of((1, 5)), None, labels_of((1, 5)), None]
    scores, tracker = run(tmp_path, first_masks_stay, truth)
    assert len(tracker.steps) == 6
    assert scores.objects[0].frames == [2]  # the last one with a mask is not scored


def test_void_is_ignored(tmp_path):
    truth = [labels_of((1, 5), (255, 30))] * 4
    scores, tracker = run(tmp_path, lambda t, _: labels_of((1, 5), (1, 30)), truth)
    assert scores.objects[0].summary()['J&F'] == 1.0
    assert tracker.masks.keys() == {1}


def test_the_error_for_a_refused_prompt_names_the_frame(tmp_path):
    def refuse(index, masks):
        raise PromptError('the mask covers less than a pixel')

    with pytest.raises(DatasetError, match='a, frame 0: the mask covers less'):
        run(tmp_path, refuse, moving())


def test_no_scored_frame(tmp_path):
    with pytest.raises(DatasetError, match='no object has a scored frame'):
        run(tmp_path, first_masks_stay, [labels_of(), labels_of(), labels_of((1, 5))])


@pytest.mark.parametrize('name', ['dog', 'comp-car-shadow-horse-gap'])
def test_unchanged_masks_have_the_scores_measured_elsewhere(shared_data, name):
    (sequence,) = open_dataset(shared_data, [name])
    scores = evaluate_sequence(ScriptedTracker(first_masks_stay), sequence, 'mask')
    baseline = json.loads((shared_data / 'floors.json').read_text())[name]['static']
    found = report.mean([scores])
    assert found['J'] == pytest.approx(baseline['J_mean'], abs=6e-5)  # rounded to four decimals
    assert found['F'] == pytest.approx(baseline['F_mean'], abs=6e-5)
    assert found['J&F'] == pytest.approx(baseline['JF_mean'], abs=6e-5)


@pytest.mark.parametrize('name', ['car-shadow', 'kite-surf'])
def test_published_masks_have_the_scores_of_the_reference_code(shared_data, name):
    files = sorted((shared_data / 'Predictions_osvos' / name).glob('*.png'))
    (sequence,) = open_dataset(shared_data, [name])
    tracker = ScriptedTracker(lambda t, _: np.asarray(Image.open(files[t])) > 0)
    summary = evaluate_sequence(tracker, sequence, 'mask').objects[0].summary()
    reference = json.loads((shared_data / 'jf_reference.json').read_text())
    expected = reference['osvos_shipped_results_union_vs_davis2016_truth'][name][
        'semi_supervised_1_to_N-2'
    ]
    for ours, theirs in (
        ('J', 'J_mean'),
        ('J_recall', 'J_recall'),
        ('J_decay', 'J_decay'),
        ('F', 'F_mean'),
        ('F_recall', 'F_recall'),
        ('F_decay', 'F_decay'),
        ('J&F', 'JF_mean'),
    ):
        assert summary[ours] == pytest.approx(expected[theirs], abs=1e-6), ours
