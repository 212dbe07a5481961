# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node opens a further model as its parameters say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
pytest.importorskip('tam_ros.msg')

from tam_ros.regular_file import UnsuitableFileError  # noqa: E402
from tam_ros.ros import track_node  # noqa: E402
from tam_ros.ros.parameters import Parameters  # noqa: E402

BACKEND = {'runtime': 'torch', 'threads': 1}


@pytest.fixture
def opened(monkeypatch):
    calls = []

    def open_segmenter(*arguments, **options):
        calls.append((*arguments, options))
        return SimpleNamespace(model='other', weights='none')

    monkeypatch.setattr(track_node.Segmenter, 'open', open_segmenter)
    return calls


def open_second(**values):
    return track_node.TrackNode._open_second_model(Parameters(**values), BACKEND)


def test_no_model_is_opened_unless_it_is_asked_for(opened):
    assert open_second(segment_weights='/some/file') is None
    assert not opened


@pytest.mark.parametrize('both', [False, True])
def test_it_is_opened_once_on_the_backend_of_the_tracker(opened, both):
    prompt_model = 'edgesam' if both else ''
    second = open_second(segment_model='edgesam', prompt_model=prompt_model)
    assert second.segments
    assert opened == [('edgesam', None, BACKEND)]
    second = open_second(prompt_model='edgesam', segment_weights='/some/file')
    assert not second.segments
    assert opened[1:] == [('edgesam', '/some/file', BACKEND)]


def test_its_weights_must_be_where_weights_are_allowed(opened, tmp_path):
    folder = tmp_path / 'allowed'
    folder.mkdir()
    (tmp_path / 'other.pt').write_bytes(b'')
    with pytest.raises((UnsuitableFileError, OSError)):
        open_second(
            segment_model='edgesam',
            segment_weights=str(tmp_path / 'other.pt'),
            allowed_weights_dir=str(folder),
        )
    assert not opened
