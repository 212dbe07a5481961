# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reading the catalogue: the weights of an entry are checked, and an error names the entry."""

from __future__ import annotations

import pytest

from tam_ros import catalogue
from tam_ros.catalogue import Weights, read_model

ENTRY = {'architecture': 'toy', 'description': '', 'licence': 'Apache-2.0', 'config': {}}


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({'repo': 'owner/name'}, 'repo and file are given together'),
        ({'file': 'weights.pt'}, 'repo and file are given together'),
        ({'bundled': 'a', 'repo': 'b', 'file': 'c'}, 'bundled and repo exclude each other'),
        ({'bundled': ''}, "bundled is '', not a name"),
        ({'repo': 'owner/name', 'file': 3}, 'file is 3, not a name'),
        ({'url': 'somewhere'}, 'url'),
        ('weights.pt', ''),
        ({'repo': 'o/n', 'file': 'w.pt', 'revision': 'main'}, "revision is 'main', not 40 hex"),
        ({'repo': 'o/n', 'file': 'w.pt', 'sha256': 'E' * 64}, 'sha256 is .* not 64 hexadecimal'),
        ({'repo': 'o/n', 'file': 'w.pt', 'sha256': 64}, 'sha256 is 64, not 64 hexadecimal'),
        ({'bundled': '/etc'}, 'bundled is ./etc., which leads to another folder'),
        ({'repo': 'o/n', 'file': 'a/../../w.pt'}, 'file is .*, which leads to another folder'),
        ({'revision': 'c' * 40}, 'revision is given without repo'),
        ({'sha256': 'e' * 64}, 'sha256 is given without repo or bundled'),
    ],
)
def test_wrong_weights_name_the_entry(weights, message):
    with pytest.raises(
        ValueError, match=f'entry toy_64 of the catalogue is not valid: .*{message}'
    ):
        read_model('toy_64', {**ENTRY, 'weights': weights})


@pytest.mark.parametrize('entry', [ENTRY, {**ENTRY, 'weights': {}}, {**ENTRY, 'weights': None}])
def test_an_entry_needs_no_weights(entry):
    assert read_model('toy_64', entry).weights == Weights()


def test_the_weights_of_the_catalogue():
    assert catalogue.model('efficienttam_nano').weights.bundled == 'efficienttam_nano'
    official = catalogue.model('efficienttam_s').weights
    assert official.repo == 'yunyangx/efficient-track-anything'
    assert official.file == 'efficienttam_s.pt'


def test_the_command_line_reports_an_entry_that_is_not_valid(tmp_path, monkeypatch, capsys):
    from tam_ros.cli import main

    (tmp_path / 'models.yaml').write_text(
        'broken: {architecture: efficienttam, weights: {repo: x}}'
    )
    monkeypatch.setattr(catalogue, 'engines_dir', lambda: tmp_path)
    catalogue.models.cache_clear()
    try:
        assert main(['models']) == 2
    finally:
        catalogue.models.cache_clear()
    assert 'the entry broken of the catalogue is not valid' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'a: [', 'cannot be read as the catalogue of models'),
        (b'\xff\xfe', 'cannot be read as the catalogue of models'),
        (b'[' * 20_000, 'nested too deeply'),
        (b'- a\n- b', 'not a mapping of names'),
        (b'', 'not a mapping of names'),
        (b'a: 1', 'the entry a of the catalogue is not valid'),
        (b'2: {architecture: x, description: x, licence: x, config: {}}', 'name is 2'),
        (b'../a: {architecture: x, description: x, licence: x, config: {}}', 'the name'),
        (b'a: {architecture: 1, description: x, licence: x, config: {}}', 'architecture is 1'),
        (b'a: {architecture: x, description: x, licence: x, config: [1]}', 'config is not a mapp'),
        (b'a: {architecture: x, description: x, licence: x, config: {1: 2}}', 'config is not a m'),
        (b'a: {architecture: x, description: x, licence: x, config: {}, kind: []}', 'kind is'),
    ],
)
def test_a_catalogue_that_is_not_one(tmp_path, monkeypatch, content, message):
    (tmp_path / 'models.yaml').write_bytes(content)
    monkeypatch.setattr(catalogue, 'engines_dir', lambda: tmp_path)
    with pytest.raises(catalogue.CatalogueError, match=message):
        catalogue.models.__wrapped__()
