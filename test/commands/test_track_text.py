# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track --text`: words become objects that are tracked, and a wrong word says so."""

from __future__ import annotations

import cv2
import numpy as np
import planted_clip as planted
import pytest

from tam_ros.cli import main
from tam_ros.io.mask_files import read_masks
from tam_ros.segmentation.region_prompts import best_prompt


def boxes(frame):
    """Return where the objects are on a frame."""
    return {'red': (40 + 4 * frame, 60, 110 + 4 * frame, 130), 'blue': (190, 100, 250, 170)}


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    for index in range(4):
        image = planted.scene(200, 300, **boxes(index))
        cv2.imwrite(str(folder / f'{index:02}.png'), image[..., ::-1])
    return folder


@pytest.fixture
def run(tmp_path, frames, graphs, capsys):
    weights = planted.write(tmp_path)

    def run(*arguments, clip=('--clip', 'any', '--clip-weights', str(weights))):
        status = main(['track', str(frames), *arguments, *clip, '--out', str(tmp_path / 'masks')])
        return status, capsys.readouterr()

    return run


def iou(mask, box):
    x0, y0, x1, y1 = box
    truth = np.zeros(mask.shape, bool)
    truth[y0:y1, x0:x1] = True
    return (mask & truth).sum() / (mask | truth).sum()


def test_words_are_found_and_tracked(run, tmp_path):
    status, printed = run(
        *('--text', 'the red mug', '--text', 'blue', '--text', 'green'), '--background', 'grey'
    )
    assert status == 0, printed.err
    assert "nothing here looks like 'green'" in printed.out
    lines = [line for line in printed.out.splitlines() if line.startswith('object ')]
    assert len(lines) == 2 and all('probability' in line for line in lines)
    ids = {
        colour: next(int(line.split()[1][:-1]) for line in lines if colour in line)
        for colour in ('red', 'blue')
    }
    files = sorted((tmp_path / 'masks').glob('*.png'))
    assert len(files) == 4
    for index, file in enumerate(files):
        masks = read_masks(file)
        for colour, box in boxes(index).items():
            assert iou(masks[ids[colour]], box) > 0.8, (index, colour)


def test_words_beside_a_prompt(run, tmp_path):
    status, printed = run('--prompt', '5:box:190,100,250,170', '--text', 'red')
    assert status == 0, printed.err
    assert "object 6: 'red' at" in printed.out
    assert set(read_masks(sorted((tmp_path / 'masks').glob('*.png'))[0])) == {5, 6}


def test_a_robot_with_a_file_of_features(run, tmp_path):
    words, robot = tmp_path / 'words.npz', tmp_path / 'robot'
    arguments = ['words', 'red', 'grey', '--model', 'any', '--runtime', 'torch']
    arguments += ['--weights', str(tmp_path / 'planted.pt'), '--out', str(words)]
    assert main(arguments) == 0
    robot.mkdir()
    (robot / 'planted.pt').write_bytes((tmp_path / 'planted.pt').read_bytes())
    clip = ['--clip', 'any', '--clip-weights', str(robot / 'planted.pt'), '--words', str(words)]
    status, printed = run('--text', 'red', '--background', 'grey', clip=clip)
    assert status == 0 and "object 1: 'red' at" in printed.out
    (tmp_path / 'masks').rename(tmp_path / 'other')
    status, printed = run('--text', 'blue', clip=clip)
    assert status == 2 and "lacks 'blue'" in printed.err


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--text', 'green'], "nothing here looks like 'green'"),
        (['--text', ''], "the text '' has no word in it"),
        (['--text', 'red ' * 30], 'say it in fewer words'),
        (['--prompt', '1:point:5,5', '--background', 'grey'], '--background is for --text'),
        (['--text', 'red', '--load-tracks', 'x'], 'cannot be used with --load-tracks'),
        (['--text', 'red', '--words', 'none.npz'], 'none.npz does not exist'),
    ],
)
def test_what_cannot_be_tracked(run, tmp_path, arguments, says):
    status, printed = run(*arguments)
    assert status == 2 and says in printed.err and printed.err.count('\n') == 1
    assert not (tmp_path / 'masks').exists()


def test_without_weights_for_the_clip(run):
    status, printed = run('--text', 'red', clip=())
    assert status == 2 and 'no weights for clip_vit_b16' in printed.err


class Judge:
    """A segmenter that is most sure of one kind of prompt."""

    def __init__(self, best):
        self.best = best

    def segment(self, prompt):
        kind = ('box' if (prompt.labels >= 2).any() else '') + (
            'point' if (prompt.labels == 1).any() else ''
        )
        iou = np.array([0.9 if kind == self.best else 0.5], np.float32)
        return type('Found', (), {'predicted_iou': iou})()


@pytest.mark.parametrize(('best', 'count'), [('box', 2), ('point', 1), ('boxpoint', 3)])
def test_the_prompt_of_which_the_model_is_most_sure(best, count):
    prompt, found = best_prompt(Judge(best), 4, (10, 20, 50, 60), (30, 40))
    assert prompt.object_id == 4 and len(prompt.labels) == count
    assert found.predicted_iou[0] == np.float32(0.9)
