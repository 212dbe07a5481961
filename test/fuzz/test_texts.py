# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts of prompts, and data sets of `tam eval`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evaluation.datasets import moving, write
from hypothesis import given, strategies

from fuzz.mutations import OPERATIONS, fuzzed, mutated, only
from tam_ros.evaluation.dataset import DatasetError, open_dataset
from tam_ros.prompting.prompt_text import PromptSpecError, check_prompts, parse_prompts

PROMPTS = (
    '1:point:320,240',
    '1:point:320,240,1;60,40,0',
    '2:box:40,60,200,180@25',
    '3:point:1,2 4:box:1,2,3,4',
)
PIECES = strategies.lists(
    strategies.one_of(
        strategies.sampled_from(
            [*'0123456789:;,@.- \n\0', 'point', 'box', '1e400', 'nan', '-inf', '٣', '1_0', '0x1']
        ),
        strategies.text(max_size=4),
        strategies.sampled_from(['9' * 5000, ',' * 3000, '1:point:1,1;' * 500]),
    ),
    max_size=20,
).map(''.join)


def parse(text: str) -> None:
    with only(PromptSpecError):
        prompts = parse_prompts(text)
        assert prompts and all(0 < prompt.object_id < 10**18 for prompt in prompts)
        check_prompts(prompts, (480, 640), 100)


@fuzzed(300)
@given(text=PIECES)
def test_prompts(text):
    parse(text)


@fuzzed(200)
@given(text=strategies.sampled_from(PROMPTS), operations=OPERATIONS)
def test_damaged_prompts(text, operations):
    parse(mutated(text.encode(), operations).decode(errors='surrogateescape'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    write(folder, 'a', moving(3))
    (folder / 'names.txt').write_text('a\n')
    return folder


@pytest.mark.parametrize(
    'name', ['JPEGImages/a/00000.jpg', 'Annotations/a/00000.png', 'Annotations/a/00002.png']
)
@fuzzed(40)
@given(operations=OPERATIONS)
def test_data_sets(whole, tmp_path, name, operations):
    shutil.copytree(whole, tmp_path / 'set', dirs_exist_ok=True)
    path = tmp_path / 'set' / name
    path.write_bytes(mutated((whole / name).read_bytes(), operations))
    with only(DatasetError, names='a'):
        for sequence in open_dataset(tmp_path / 'set'):
            for frame in sequence:
                assert frame.image.shape[:2] == frame.labels.shape


@fuzzed(40)
@given(operations=OPERATIONS)
def test_lists_of_sequences(whole, tmp_path, operations):
    path = tmp_path / 'names.txt'
    path.write_bytes(mutated(b'a\na\n', operations))
    with only(DatasetError):
        open_dataset(whole, [str(path)])
