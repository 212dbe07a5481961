# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Versions of PyTorch with which a pickle is not read, although only its tensors are wanted."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tam_ros.model_files import WeightsError
from tam_ros.models.build import read_checkpoint

TENSORS = {'weight': torch.arange(3.0)}


@pytest.mark.parametrize('version', ['1.13.1', '2.5.0a0+872d972e41.nv24.08', '2.9.1', 'unknown'])
def test_a_pickle_is_not_opened_by_a_version_that_it_can_attack(tmp_path, monkeypatch, version):
    torch.save(TENSORS, tmp_path / 'weights.pt')
    save_file(TENSORS, tmp_path / 'weights.safetensors')
    assert read_checkpoint(tmp_path / 'weights.safetensors')['weight'].tolist() == [0, 1, 2]
    monkeypatch.setattr(torch, '__version__', version)
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('the pickle was read'))
    with pytest.raises(WeightsError, match=r'weights\.pt .*torch .* install torch 2\.10 or newer'):
        read_checkpoint(tmp_path / 'weights.pt')


@pytest.mark.parametrize('version', ['2.10.0', '2.13.0+cpu', '3.0.0'])
def test_later_versions_read_it(tmp_path, monkeypatch, version):
    torch.save(TENSORS, tmp_path / 'weights.pt')
    monkeypatch.setattr(torch, '__version__', version)
    assert read_checkpoint(tmp_path / 'weights.pt')['weight'].tolist() == [0, 1, 2]
