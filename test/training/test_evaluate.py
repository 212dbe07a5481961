# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Evaluation, packaging, curves and the choice of pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tam_ros.models.efficienttam import EfficientTAM
from training import evaluate, package, plot, sources, train
from training.recipe import Phase


class PerfectTracker:
    """Answers with the mask it was prompted with, moved as told; forgets it from a frame on."""

    def __init__(self, step_right: int, lost_from: int) -> None:
        self.step_right, self.lost_from = step_right, lost_from
        self.reset()

    def reset(self) -> None:
        self.masks, self.index = {}, -1

    def step(self, image, stamp, prompts=()):
        self.index += 1
        self.masks |= {p.object_id: np.array(p.mask_image) for p in prompts}
        labels = np.zeros(image.shape[:2], np.uint16)
        if self.index < self.lost_from:
            for number, mask in self.masks.items():
                labels[np.roll(mask, self.step_right * self.index, 1)] = number
        return SimpleNamespace(labels=labels)


def moving_square(frames: int = 10) -> evaluate.Clip:
    labels = np.zeros((frames, 40, 60), np.uint8)
    for t in range(frames):
        labels[t, 10:20, 5 + 2 * t : 15 + 2 * t] = 1
    return evaluate.Clip('square', np.zeros((frames, 40, 60, 3), np.uint8), labels)


def test_scores_of_trackers_whose_scores_are_known():
    follows = evaluate.score(PerfectTracker(2, 99), moving_square(), 'mask')
    assert [follows[name] for name in ('j', 'f', 'jf', 'j_last', 'j_0')] == [1.0] * 5
    loses = evaluate.score(PerfectTracker(2, 5), moving_square(), 'mask')
    assert loses['j'] == loses['f'] == pytest.approx(4 / 8) and loses['j_last'] == 0.0


def test_a_beginning_is_scored_as_a_shorter_sequence():
    loses = PerfectTracker(2, 5)
    beginning = evaluate.Beginning(moving_square(), 6)
    assert len(beginning) == 6 and beginning.name == 'square'
    assert evaluate.score(loses, beginning, 'mask')['j'] == 1.0


def test_table_means_over_sequences():
    scores = {'j': 0.5, 'f': 0.3, 'jf': 0.4, 'j_last': 0.25, 'j_0': 1.0, 'ms': 40.0}
    others = scores | {'j': 0.7, 'jf': 0.5, 'j_last': 0.75}
    floors = {
        'a': {'static': {'JF_mean': 0.1}, 'dis_flow': {'JF_mean': 0.3}},
        'b': {'static': {'JF_mean': 0.2}, 'dis_flow': {'JF_mean': 0.5}},
    }
    text = evaluate.table('x', {'a': {'mask': scores}, 'b': {'mask': others}}, floors)
    assert [cell.strip() for cell in text.splitlines()[-1].split('|')[1:-1]] == [
        'mean of 2',
        'mask',
        '0.450',
        '0.600',
        '0.300',
        '0.500',
        '1.000',
        '0.150',
        '0.400',
        '40',
    ]


def test_package_loads_and_is_half_precision(clips, config, tmp_path):
    phases = (Phase('image', size=64, frames=1, clips=1, lr=(1e-3, 1e-3), steps=1),)
    run = train.Run(train.Settings(clips=clips, out=tmp_path, config=config, phases=phases))
    run.step()
    run.save()
    path = package.package([tmp_path / 'last.pt'], tmp_path / 'tiny.safetensors')
    weights = load_file(path)
    assert all(value.dtype == torch.float16 for value in weights.values())
    network = EfficientTAM(config)
    network.load_state_dict(weights, strict=True)
    for name, value in run.ema.state.items():
        assert torch.allclose(weights[name].float(), value, rtol=1e-3, atol=1e-6), name


def test_package_writes_the_mean_of_runs_of_one_network(config, tmp_path):
    def checkpoint(name, fill, config):
        network = EfficientTAM(config)
        for value in network.parameters():
            torch.nn.init.constant_(value, fill)
        torch.save(
            {
                'model': network.state_dict(),
                'config': asdict(config),
                'progress': {'step': 7, 'seconds': 60.0},
            },
            tmp_path / name,
        )
        return tmp_path / name

    runs = [checkpoint('a.pt', 0.25, config), checkpoint('b.pt', 0.5, config)]
    weights = load_file(package.package(runs, tmp_path / 'mean.safetensors'))
    names = [name for name, _ in EfficientTAM(config).named_parameters()]
    assert names and all((weights[name] == 0.375).all() for name in names)
    other = checkpoint('c.pt', 0.5, replace(config, memory_layers=2))
    with pytest.raises(ValueError, match=r'c\.pt: another network'):
        package.package([runs[0], other], tmp_path / 'none.safetensors')
    assert not (tmp_path / 'none.safetensors').exists()


def test_curves_are_drawn(tmp_path):
    pytest.importorskip('matplotlib')
    (tmp_path / 'log.csv').write_text(
        'seconds,step,phase,name,value\n60,5,0,loss_clip,2.0\n'
        '120,9,0,loss_clip,1.5\n120,9,0,val_mask,0.4\n'
    )
    assert plot.read_log(tmp_path / 'log.csv')['loss_clip'] == ([1.0, 2.0], [2.0, 1.5])
    assert plot.plot(tmp_path).stat().st_size > 5000


@pytest.fixture
def data(tmp_path):
    """An index with one picture of each licence, one of them held out."""
    folder = tmp_path / 'stills' / 'coco'
    folder.mkdir(parents=True)
    entries = [
        {'image': f'{n}.jpg', 'licence': licence, 'licence_url': 'u', 'flickr_url': 'f'}
        for n, licence in enumerate((*sources.ATTRIBUTION_ONLY, sources.SHARE_ALIKE))
    ]
    entries.append(entries[2] | {'image': min(sources.HELD_OUT_STILLS)})
    (folder / 'index.json').write_text(json.dumps(entries))
    (tmp_path / 'training').mkdir()
    for video in ('01_dog', '03_skateboarder', min(sources.HELD_OUT_VIDEOS)):
        (tmp_path / 'training' / f'{video}_0000.jpg').touch()
    return tmp_path


def test_share_alike_pictures_only_on_request(data):
    def names(*args):
        return [e['image'] for e in sources.chosen_stills(data, *args)]

    assert names('train') == ['0.jpg', '1.jpg']
    assert names('train', True) == ['0.jpg', '1.jpg', '2.jpg']
    assert names('val') == [min(sources.HELD_OUT_STILLS)]
    assert '2.jpg' not in sources.attribution(data)
    assert '2.jpg' in sources.attribution(data, share_alike=True)


def test_splits_share_no_video(data):
    train_frames = {sources.video_of(p) for p in sources.chosen_frames(data, 'train')}
    held_out = {sources.video_of(p) for p in sources.chosen_frames(data, 'val')}
    assert train_frames == {'03_skateboarder'} and held_out == {min(sources.HELD_OUT_VIDEOS)}


def test_missing_data_says_what_to_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match='--data'):
        sources.load(tmp_path)
