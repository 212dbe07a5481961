# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track --save-tracks` and `--load-tracks`: one drive in two recordings."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

BOX = ('--prompt', '1:box:28,38,72,82')


def masks(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


@pytest.fixture
def halves(frames, tmp_path):
    """The clip, cut into two folders."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    for folder, names in (
        (first, sorted(frames.iterdir())[:5]),
        (second, sorted(frames.iterdir())[5:]),
    ):
        folder.mkdir()
        for path in names:
            (folder / path.name).write_bytes(path.read_bytes())
    return first, second


def test_two_recordings_are_tracked_like_one(frames, halves, tam, tmp_path):
    first, second = halves
    tracks = tmp_path / 'tracks'
    assert tam(frames, *BOX, '--out', tmp_path / 'whole') == 0
    assert tam(first, *BOX, '--out', tmp_path / 'one', '--save-tracks', tracks) == 0
    assert tam(second, '--load-tracks', tracks, '--out', tmp_path / 'two') == 0
    parts = masks(tmp_path / 'one') + masks(tmp_path / 'two')
    for whole, part in zip(masks(tmp_path / 'whole'), parts, strict=True):
        assert whole.any()
        np.testing.assert_array_equal(whole, part)


def test_new_objects_join_those_loaded(halves, tam, tmp_path):
    first, second = halves
    tracks = tmp_path / 'tracks'
    assert tam(first, *BOX, '--out', tmp_path / 'one', '--save-tracks', tracks) == 0
    prompt = ('--prompt', '4:box:100,10,150,60')
    assert tam(second, '--load-tracks', tracks, *prompt, '--out', tmp_path / 'two') == 0
    assert {1, 4} <= set(np.unique(masks(tmp_path / 'two')))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--load-tracks', 'MISSING'), 'does not exist'),
        (('--load-tracks', 'BROKEN'), 'cannot be read as a file of tracks'),
        ((*BOX, '--save-tracks', 'BROKEN'), 'exists'),
        ((*BOX, '--save-tracks', 'MISSING', '--both-ways'), 'without --both-ways'),
    ],
)
def test_refusals_leave_nothing_behind(frames, tam, tmp_path, capsys, arguments, message):
    broken = tmp_path / 'broken'
    broken.write_text('no tracks')
    names = {'MISSING': tmp_path / 'missing', 'BROKEN': broken}
    assert tam(frames, *(names.get(a, a) for a in arguments), '--out', tmp_path / 'out') == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists() and not (tmp_path / 'missing').exists()
