# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pipes, devices and large files in place of a file."""

from __future__ import annotations

import hashlib
import os

import pytest

from tam_ros.model_files import WeightsError
from tam_ros.model_files import sha256 as sha256_of_weights
from tam_ros.regular_file import UnsuitableFileError, read_regular, sha256


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
    with pytest.raises(WeightsError, match=r'weights\.pt cannot be read: .*not a regular file'):
        sha256_of_weights(path)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / 'file'
    with path.open('wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsuitableFileError, match='has 1099511627776 bytes'):
        read_regular(path, 1 << 20)
