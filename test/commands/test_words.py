# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam words` writes features that an image tower of the same weights can use."""

from __future__ import annotations

import numpy as np
import planted_clip as planted
import pytest

from tam_ros.cli import main
from tam_ros.language import DenseClip, TextFeatures
from tam_ros.language.vocabulary import read_vocabulary


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    weights = planted.write(tmp_path)

    def run(*arguments, out='words.npz'):
        status = main(
            [
                *('words', *arguments, '--out', str(tmp_path / out)),
                *('--model', 'any', '--weights', str(weights), '--runtime', 'torch'),
            ]
        )
        return status, capsys.readouterr()

    return run


def test_words_become_a_file_for_the_image_tower(run, tmp_path):
    status, printed = run('red mug', 'the cable')
    assert status == 0 and '2 texts of 4 numbers' in printed.out
    features = TextFeatures.load(tmp_path / 'words.npz')
    assert features.names == ('red mug', 'the cable')
    with DenseClip.open(None, tmp_path / 'planted.pt', 'torch') as clip:
        image = planted.scene(red=(16, 24, 80, 88))
        scores = clip.scores(image, features)
        assert features.fingerprint == clip.fingerprint and clip.fingerprint in printed.out
    assert scores[0].max() > 0.99


def test_a_vocabulary_and_further_words(run, tmp_path):
    (tmp_path / 'kitchen.txt').write_text('mug, cup\n\nMUG\n')
    status, printed = run('red', '--file', str(tmp_path / 'kitchen.txt'))
    assert status == 0 and '1 words of' in printed.out
    assert TextFeatures.load(tmp_path / 'words.npz').names == ('red', 'mug', 'cup')


@pytest.mark.parametrize(
    ('arguments', 'out', 'says'),
    [
        ([], 'words.npz', 'no words'),
        (['red'], 'words.txt', 'must end in .npz'),
        (['red'], 'planted.npz', 'exists'),
        ([''], 'words.npz', "the text '' has no word in it"),
        (['red ' * 30], 'words.npz', 'say it in fewer words'),
        (['--file', 'none.txt'], 'words.npz', 'none.txt does not exist'),
    ],
)
def test_what_cannot_be_encoded(run, tmp_path, arguments, out, says):
    np.savez(tmp_path / 'planted.npz')
    status, printed = run(*arguments, out=out)
    assert status == 2 and says in printed.err and printed.err.count('\n') == 1
    assert not (tmp_path / 'words.npz').exists()


def test_without_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    assert main(['words', 'red', '--out', str(tmp_path / 'words.npz')]) == 2
    assert 'clip_vit_b16; give a checkpoint with --weights' in capsys.readouterr().err
    arguments = ['words', 'red', '--model', 'any', '--out', str(tmp_path / 'words.npz')]
    assert main(arguments) == 2
    assert 'give the name of a model, or weights' in capsys.readouterr().err


def test_the_whole_of_coco():
    vocabulary = read_vocabulary('coco')
    assert len(vocabulary.names) == len(set(vocabulary.names)) == 80
    assert vocabulary.names[0] == 'person' and vocabulary.names[-1] == 'toothbrush'
    assert {'traffic light', 'hot dog', 'cell phone', 'hair drier'} <= set(vocabulary.names)
