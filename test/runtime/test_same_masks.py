# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""All runtimes compute the same masks of the same frames, with trained weights."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pooled
import pytest

from benchmark.agreement import Together
from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.evaluation.dataset import open_dataset
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.runtime.base import EngineError
from tam_ros.tracking import Prompt, Tracker

NAME = 'efficienttam_nano'
pytestmark = pytest.mark.skipif(
    not (catalogue.engines_dir() / NAME).is_dir(), reason='no trained weights are bundled yet'
)


# Runtimes that are compared with torch, their precision, and the lowest IoU of their masks.
RUNTIMES = [
    ('onnxruntime', 'fp32', 0.999),
    ('openvino', 'fp32', 0.999),
    ('openvino', 'bf16', 0.99),
]


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    """Compile into a folder of these tests, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TAM_ROS_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


def open_tracker(name, runtime, precision='auto'):
    if find_spec(runtime) is None:  # not imported: see test_openvino.py
        pytest.skip(f'{runtime} is not installed')
    try:
        return Tracker.open(name, runtime=runtime, precision=precision)
    except EngineError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'second_from'), [(NAME, 0), (pooled.NAME, 5)])
@pytest.mark.parametrize(('runtime', 'precision', 'near'), RUNTIMES)
def test_two_objects_over_20_frames(name, second_from, runtime, precision, near, monkeypatch):
    """A second object that is added later has a single memory while the first has a full bank."""
    pooled.add(monkeypatch)
    scene = DemoScene()
    frames = [scene.frame(index) for index in range(20)]
    box = next(p.box for p in scene.prompts if p.object_id == 1)
    prompts = {0: [Prompt.box(1, box)]}
    prompts.setdefault(second_from, []).append(Prompt.mask(2, frames[second_from][1] == 2))
    trackers = {
        'torch': open_tracker(name, 'torch'),
        runtime: open_tracker(name, runtime, precision),
    }
    seen = 0
    for index, (image, _) in enumerate(frames):
        results = {
            name: {
                item.id: item
                for item in tracker.step(image, index / 15, prompts.get(index, ())).objects
            }
            for name, tracker in trackers.items()
        }
        for number in results['torch']:
            ours, theirs = (results[name][number].mask for name in trackers)
            union = np.count_nonzero(ours | theirs)
            assert np.count_nonzero(ours & theirs) >= near * union, (index, number)
            seen += union > 0
    assert seen == 40 - second_from, 'both objects are visible on all of these frames'


@pytest.mark.slow
@pytest.mark.parametrize(('runtime', 'precision', 'near'), RUNTIMES[1:])
def test_a_real_sequence(shared_data, runtime, precision, near):
    """Each runtime keeps its own memories, so deviations accumulate over sixty frames."""
    (sequence,) = open_dataset(shared_data, ['dog'])
    together = Together(
        [open_tracker(NAME, 'onnxruntime', 'fp32'), open_tracker(NAME, runtime, precision)]
    )
    evaluate_sequence(together, sequence, 'mask')
    (ious,) = together.ious
    assert len(ious) == len(sequence) and np.mean(ious) >= near


def test_bundled_weights_track_and_are_not_untrained():
    tracker = Tracker.open(NAME)
    assert 'untrained' not in tracker.weights
    scene = DemoScene()
    image, labels = scene.frame(0)
    frame = tracker.step(image, 0.0, [Prompt.mask(1, labels == 1)])
    frame = tracker.step(scene.frame(1)[0], 0.1)
    truth = scene.frame(1)[1] == 1
    mask = frame.objects[0].mask
    assert np.count_nonzero(mask & truth) > 0.6 * np.count_nonzero(mask | truth)


def test_bundled_files_stay_small():
    folder = catalogue.engines_dir() / NAME
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20e6


@pytest.mark.slow
def test_bundled_weights_run_at_another_input_size(tmp_path, monkeypatch):
    """At 256 pixels the graphs are exported once, into the cache; both runtimes agree."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    scene = DemoScene()
    masks = {}
    for runtime in ('torch', 'onnxruntime'):
        tracker = Tracker.open(f'{NAME}_256', runtime=runtime)
        image, labels = scene.frame(0)
        tracker.step(image, 0.0, [Prompt.mask(1, labels == 1)])
        masks[runtime] = [
            tracker.step(scene.frame(i)[0], i / 15).objects[0].mask for i in range(1, 5)
        ]
    truth = [scene.frame(i)[1] == 1 for i in range(1, 5)]
    for ours, theirs, true in zip(*masks.values(), truth, strict=True):
        assert np.count_nonzero(ours & theirs) >= 0.999 * np.count_nonzero(ours | theirs)
        assert np.count_nonzero(ours & true) > 0.6 * np.count_nonzero(ours | true)
    (exported,) = (tmp_path / 'graphs').glob(f'{NAME}*')
    assert '"image_size": 256' in (exported / 'model.json').read_text()
