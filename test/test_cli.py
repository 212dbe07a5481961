# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam models`, `tam weights`, `tam export` and usage errors; the others are in commands/."""

from pathlib import Path

import pytest

from tam_ros import catalogue
from tam_ros.cli import main


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


# --- models and weights ---


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


OFFICIAL = [name for name, model in catalogue.models().items() if model.weights.repo]


@pytest.mark.parametrize('name', OFFICIAL)
def test_weights_get_puts_the_file_where_the_tracker_looks(name, monkeypatch, capsys):
    hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    from tam_ros.loading import find_weights

    requests = []

    def download(repo, file, local_dir):
        requests.append((repo, file))
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / file).write_bytes(b'a checkpoint')

    monkeypatch.setattr(hub, 'hf_hub_download', download)
    assert main(['weights', 'get', name]) == 0
    found = find_weights(catalogue.model(name), None, 'torch')
    assert found.read_bytes() == b'a checkpoint'
    assert str(found) in capsys.readouterr().out
    published = (
        ('facebook/EdgeTAM', 'edgetam.pt')
        if name.startswith('edgetam')
        else ('yunyangx/efficient-track-anything', f'{name}.pt')
    )
    assert requests == [published]
    assert main(['weights', 'get', name]) == 0
    assert 'exists already' in capsys.readouterr().out
    assert len(requests) == 1


def test_weights_that_cannot_be_downloaded(monkeypatch, capsys):
    hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')

    def download(*_, **__):
        raise ConnectionError('Name or service not known')

    monkeypatch.setattr(hub, 'hf_hub_download', download)
    assert main(['weights', 'get', 'efficienttam_ti']) == 2
    error = capsys.readouterr().err
    assert 'Name or service not known' in error
    address = 'https://huggingface.co/yunyangx/efficient-track-anything/resolve/main/'
    assert address + 'efficienttam_ti.pt' in error


def test_bundled_weights_need_no_download(capsys):
    assert main(['weights', 'get', 'efficienttam_nano']) == 0
    assert 'come with the package' in capsys.readouterr().out


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
