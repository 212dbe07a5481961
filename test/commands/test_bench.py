# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam bench` prints every stage and writes the same values as JSON."""

from __future__ import annotations

import json

import pytest

from tam_ros.cli import main


def test_table_and_json(tam_fake, tmp_path, capsys):
    path = tmp_path / 'times.json'
    options = ('--objects', 2, '--frames', 2, '--size', '160x120', '--json', path)
    assert tam_fake('bench', *options) == 0
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert (found['objects'], found['frames']) == (2, 2) and '160x120' in found['images']
    stages = found['stages']
    assert {'image_encoder', 'memory_attention', 'mask_decoder', 'memory_encoder', 'step'} <= set(
        stages
    )
    for stage, row in stages.items():
        assert stage in printed and 0 < row['median_ms'] <= row['p95_ms']
    assert stages['step']['median_ms'] > stages['image_encoder']['median_ms']
    assert 'fake, none, run by fake' in printed and '2 objects, generated discs' in printed


def test_a_video_that_is_too_short_to_measure_on(video, tam_fake, capsys):
    assert tam_fake('bench', '--video', video) == 2
    assert 'within the 20 frames that are not counted' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--objects', '300'], 'max_objects is 300'),
        (['--json', '/nowhere/at/all.json'], 'the folder does not exist'),
        (['--video', '/nowhere.mp4'], 'nowhere.mp4'),
        (['--weights', '/nowhere'], 'do not exist'),
    ],
)
def test_refusals(arguments, message, capsys):
    assert main(['bench', *arguments]) == 2
    assert message in capsys.readouterr().err
