# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pipes, devices and large files in place of a file."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from tam_ros.io.frames import SourceError
from tam_ros.io.image_folder import ImageFolder
from tam_ros.io.mask_files import MaskFileError, read_masks
from tam_ros.io.open_source import open_source
from tam_ros.model_files import WeightsError
from tam_ros.model_files import sha256 as sha256_of_weights
from tam_ros.regular_file import UnsuitableFileError, read_regular, resolve_inside, sha256


def test_a_regular_file_is_read_also_through_a_link(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'content')
    (tmp_path / 'link').symlink_to(path)
    assert read_regular(tmp_path / 'link', 7) == b'content'
    assert sha256(path, 7) == hashlib.sha256(b'content').hexdigest()


@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder'])
def test_anything_else_is_refused_at_once(tmp_path, kind):
    path = tmp_path / 'weights.pt'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    else:
        path.mkdir()
    with pytest.raises(UnsuitableFileError, match='is not a regular file'):
        read_regular(path, 10)
    words = r'weights\.pt cannot be read as weights: .*not a regular file'
    with pytest.raises(WeightsError, match=words):
        sha256_of_weights(path)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / 'file'
    with path.open('wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsuitableFileError, match='has 1099511627776 bytes'):
        read_regular(path, 1 << 20)


def test_pipes_and_devices_in_a_folder_of_images_are_left_out_in_words(tmp_path, caplog):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / '1.png')
    os.mkfifo(tmp_path / '2.png')
    (tmp_path / '3.png').symlink_to('/dev/zero')
    assert [frame.file for frame in ImageFolder(tmp_path)] == ['1.png']
    assert [record.getMessage().split(': ')[1] for record in caplog.records] == [
        '2 named like images are pipes, devices or broken links and are left out; the first is '
        "'2.png'"
    ]


def test_a_pipe_as_a_mask_or_a_source_is_refused(tmp_path):
    os.mkfifo(tmp_path / '2.png')
    with pytest.raises(MaskFileError, match=r'2\.png cannot .* not a regular file'):
        read_masks(tmp_path / '2.png')
    with pytest.raises(SourceError, match='neither a file nor a folder'):
        open_source(tmp_path / '2.png')


def test_a_checkpoint_that_is_a_pipe_or_has_damaged_numbers_is_refused(tmp_path):
    torch = pytest.importorskip('torch')
    from tam_ros.models.build import read_checkpoint

    os.mkfifo(tmp_path / 'pipe.safetensors')
    with pytest.raises(WeightsError, match='not a regular file'):
        read_checkpoint(tmp_path / 'pipe.safetensors')
    torch.save(
        {'model': {'a': torch.ones(2), 'b': torch.full((2,), torch.nan)}}, tmp_path / 'x.pt'
    )
    with pytest.raises(WeightsError, match=r"x\.pt are damaged: 'b'"):
        read_checkpoint(tmp_path / 'x.pt')


# --- files that must be in a folder ---


@pytest.fixture
def allowed(tmp_path):
    """A folder with a file, and things beside it whose paths begin with its name or lead to it."""
    folder = tmp_path / 'allowed'
    (folder / 'graphs').mkdir(parents=True)
    (folder / 'weights.pt').write_bytes(b'')
    (folder / 'graphs' / 'model.json').write_bytes(b'')
    (tmp_path / 'allowed_not').mkdir()
    (tmp_path / 'allowed_not' / 'weights.pt').write_bytes(b'')
    (tmp_path / 'into').symlink_to(folder)
    (folder / 'inside').symlink_to('weights.pt')
    (folder / 'out').symlink_to('../allowed_not/weights.pt')
    (folder / 'folder_out').symlink_to('../allowed_not')
    return folder


@pytest.mark.parametrize(
    'name', ['weights.pt', 'graphs', 'inside', '../into/weights.pt', 'new.pt']
)
def test_paths_inside_a_folder_are_resolved(allowed, name):
    found = resolve_inside(allowed / name, allowed.parent / 'into')
    assert found == (allowed / name).resolve() and found.is_relative_to(allowed)


@pytest.mark.parametrize(
    'name',
    [
        '..',
        '../allowed_not/weights.pt',
        'out',
        'folder_out/weights.pt',
        '/dev/zero',
        'graphs/../..',
    ],
)
def test_paths_outside_a_folder_are_refused(allowed, name):
    with pytest.raises(UnsuitableFileError, match='is not in .*/allowed$'):
        resolve_inside(allowed / name, allowed)


def test_a_folder_whose_contents_are_elsewhere_is_refused(allowed):
    (allowed / 'graphs' / 'mask_decoder_fp32.onnx').symlink_to('/etc/hostname')
    with pytest.raises(UnsuitableFileError, match='mask_decoder_fp32.onnx.* is not in '):
        resolve_inside(allowed / 'graphs', allowed)


def test_relative_paths_and_the_home_directory(allowed, monkeypatch):
    monkeypatch.chdir(allowed)
    assert resolve_inside('weights.pt', allowed) == allowed / 'weights.pt'
    monkeypatch.setenv('HOME', str(allowed))
    assert resolve_inside('~/weights.pt', allowed) == allowed / 'weights.pt'
    with pytest.raises(UnsuitableFileError):
        resolve_inside('untrained', allowed / 'graphs')
