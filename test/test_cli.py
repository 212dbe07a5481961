# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam models`, `tam export` and usage errors; the others are in commands/."""

import tempfile
from pathlib import Path

import pytest

from tam_ros import catalogue, commands
from tam_ros.cli import INTERNAL_ERROR, main


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


# --- errors in tam itself ---


def fails(error):
    def run(options):
        raise error

    return run


@pytest.mark.parametrize('usable', [True, False])
def test_an_internal_error_is_one_line_and_its_details_are_in_a_file(
    usable, cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    if not usable:
        cache.write_bytes(b'a file where the cache should be')
    monkeypatch.setattr(commands.models, 'run', fails(KeyError('a\x1b[2J\nb')))
    assert main(['models']) == INTERNAL_ERROR == 70
    (line,) = capsys.readouterr().err.splitlines()
    beginning, path = line.split('; the details are in ')
    assert beginning == "tam: internal error: KeyError: 'a\\x1b[2J\\nb'"
    folder = cache / 'logs' if usable else tmp_path
    assert Path(path).parent == folder
    assert 'Traceback' in Path(path).read_text() and 'in fails' not in path


def test_an_internal_error_is_printed_on_request(monkeypatch, capsys):
    monkeypatch.setattr(commands.models, 'run', fails(MemoryError()))
    monkeypatch.setenv('TAM_DEBUG', '1')
    assert main(['models']) == 70
    text = capsys.readouterr().err
    assert 'Traceback' in text and 'tam: there is not enough memory; the details are in ' in text


def test_ctrl_c_is_no_internal_error(monkeypatch, capsys):
    monkeypatch.setattr(commands.models, 'run', fails(KeyboardInterrupt()))
    assert main(['models']) == 130
