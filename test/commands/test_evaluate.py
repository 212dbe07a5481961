# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam eval`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation.datasets import ScriptedTracker, first_masks_stay, labels_of, moving, write
from PIL import Image

from tam_ros.cli import main
from tam_ros.tracking import FrameError, Tracker


@pytest.fixture
def dataset(tmp_path):
    """Two sequences: a square that moves, and two that stay."""
    write(tmp_path / 'data', 'moves', moving())
    return write(tmp_path / 'data', 'stays', [labels_of((1, 5), (2, 30))] * 4)


@pytest.fixture
def scripted(monkeypatch):
    """Replace the tracker by one that keeps the first masks in place."""
    tracker = ScriptedTracker(first_masks_stay)
    tracker.opened_with = None

    def opened(**arguments):
        tracker.opened_with = arguments
        return tracker

    monkeypatch.setattr(Tracker, 'open', opened)
    return tracker


def test_table_json_and_plot(dataset, scripted, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    out, picture = tmp_path / 'scores.json', tmp_path / 'scores.png'
    assert main(['eval', str(dataset), '--json', str(out), '--plot', str(picture)]) == 0
    said = capsys.readouterr().out
    assert 'scripted, scripted, run by scripted (none, exact); prompt: mask' in said
    printed = [line.split() for line in said.splitlines()]
    assert ['stays', '2', '2', '1.000', '1.000', '1.000', '1.000', '1.000'] in printed
    scores = json.loads(out.read_text())
    assert scores['prompt'] == 'mask' and scores['complete'] is True
    assert scores['facts'] == {'device': 'none', 'precision': 'exact'}
    assert scores['sequences'].keys() == {'moves', 'stays'}
    # A square of 10 that has moved by 2t: the overlap of two of them over their union.
    j = np.mean([max(10 - 2 * t, 0) / (10 + 2 * t) for t in range(1, 8)])
    assert scores['sequences']['moves']['J'] == pytest.approx(j)
    assert scores['mean']['J'] == pytest.approx((j + 2) / 3)
    assert {'J', 'F', 'J&F'} <= scores['mean'].keys()
    with Image.open(picture) as image:
        assert image.width > 400


def test_only_the_named_sequences(dataset, scripted, tmp_path):
    out = tmp_path / 'scores.json'
    assert main(['eval', str(dataset), '--sequences', 'stays', '--json', str(out)]) == 0
    assert json.loads(out.read_text())['sequences'].keys() == {'stays'}


def test_hide_below_reaches_the_tracker(dataset, scripted, tmp_path, capsys):
    out = tmp_path / 'scores.json'
    assert main(['eval', str(dataset), '--hide-below', '0.5', '--json', str(out)]) == 0
    assert scripted.opened_with['options'].hide_below == 0.5
    assert json.loads(out.read_text())['hide_below'] == 0.5
    with pytest.raises(SystemExit):
        main(['eval', str(dataset), '--hide-below', '1.5'])
    assert '1.5 is not between 0 and 1' in capsys.readouterr().err


def test_finished_sequences_are_reported(dataset, scripted, tmp_path, capsys):
    def fail_in_the_second(index, masks):
        if 2 in masks:
            raise FrameError('no')
        return first_masks_stay(index, masks)

    scripted._answer = fail_in_the_second
    out = tmp_path / 'scores.json'
    assert main(['eval', str(dataset), '--json', str(out)]) == 2
    captured = capsys.readouterr()
    assert 'only 1 of 2 sequences were finished' in captured.out
    assert 'stays, frame 0: no' in captured.err
    scores = json.loads(out.read_text())
    assert scores['complete'] is False and scores['sequences'].keys() == {'moves'}


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['{}/missing'], 'is not a folder'),
        (['{}', '--sequences', 'z'], 'sequences with masks: moves, stays'),
        (['{}', '--sequences', '{}/missing.txt'], 'missing.txt'),
        (['{}', '--json', '{}/no/folder.json'], 'no does not exist'),
        (['{}', '--plot', '{}/plot.xyz'], 'ends in .png'),
        (['{}', '--model', 'nonsense'], "no model 'nonsense'"),
    ],
)
def test_refused(dataset, arguments, words, capsys):
    if '--plot' in arguments:
        pytest.importorskip('matplotlib')
    assert main(['eval', *(argument.format(dataset) for argument in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_a_plot_without_matplotlib(dataset, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split('.')[0] == 'matplotlib']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert main(['eval', str(dataset), '--plot', str(tmp_path / 'x.png')]) == 2
    assert 'pip install matplotlib' in capsys.readouterr().err


@pytest.fixture
def real_dataset(shared_data, tmp_path) -> Path:
    """Every third frame of a sequence of DAVIS, 20 in all."""
    root = tmp_path / 'davis'
    for part, suffix in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
        folder = root / part / 'dog'
        folder.mkdir(parents=True)
        for file in sorted((shared_data / part / 'dog').glob(f'*.{suffix}'))[::3]:
            (folder / file.name).symlink_to(file)
    return root


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['mask', 'box', 'click'])
def test_the_bundled_model_beats_static_masks(real_dataset, tmp_path, monkeypatch, kind):
    out = tmp_path / 'scores.json'
    # Several threads wait for each other if the machine is busy.
    options = ['--prompt', kind, '--threads', '1', '--json', str(out)]
    assert main(['eval', str(real_dataset), *options]) == 0
    score = json.loads(out.read_text())['mean']['J&F']
    static = ScriptedTracker(first_masks_stay)
    monkeypatch.setattr(Tracker, 'open', lambda *args, **kwargs: static)
    assert main(['eval', str(real_dataset), '--json', str(out)]) == 0
    assert score > json.loads(out.read_text())['mean']['J&F'] + 0.2
