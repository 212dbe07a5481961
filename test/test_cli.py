# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam models`, `tam export` and usage errors; the others are in commands/."""

from pathlib import Path

import pytest

from tam_ros import catalogue
from tam_ros.cli import main


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


# --- models ---


def test_models_lists_the_catalogue(capsys, cache):
    assert main(['models']) == 0
    before = capsys.readouterr().out
    for name, model in catalogue.models().items():
        assert name in before and model.description in before
    assert '`tam weights get efficienttam_ti`' in before
    (cache / 'weights').mkdir(parents=True)
    (cache / 'weights' / 'efficienttam_ti.pt').write_bytes(b'')
    assert main(['models']) == 0
    assert f'in {cache}/weights/efficienttam_ti.pt' in capsys.readouterr().out


# --- export ---


def test_export_into_an_existing_folder(tmp_path, capsys):
    arguments = ['export', 'efficienttam_nano', '--weights', 'untrained', '--out', str(tmp_path)]
    assert main(arguments) == 2
    assert 'exists' in capsys.readouterr().err


@pytest.mark.slow
def test_a_tracker_opens_exported_graphs(tmp_path, capsys):
    pytest.importorskip('torch', reason='torch is needed to export')
    from tam_ros.tracking import Tracker

    out = tmp_path / 'nano'
    arguments = ['export', 'efficienttam_nano', '--weights', 'untrained', '--out', str(out)]
    assert main(arguments) == 0
    assert str(out) in capsys.readouterr().out
    with Tracker.open('efficienttam_nano', out) as tracker:
        assert tracker.weights.startswith('untrained')


# --- all commands ---


@pytest.mark.parametrize(
    'arguments', [[], ['track'], ['weights'], ['fly'], ['track', 'x.mp4', '--runtime', 'abacus']]
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert 'usage: tam' in capsys.readouterr().err
