# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Outputs of `tam track`: checked before anything is written, never lost, whole after a signal."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from bagdata import read_bag

from tam_ros.io.video_writer import VideoWriteError, VideoWriter
from tam_ros.new_output import NewOutput
from tam_ros.tracking import ClipTracker, Tracker

POINT = ('--prompt', '1:point:50,60')


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != 'cache')


@pytest.mark.parametrize(
    ('outputs', 'words'),
    [
        (('--out', 'y.json', '--save-tracks', 'y.json'), '--out and --save-tracks are the same'),
        (('--out', 'y.json', '--save-tracks', './sub/../y.json'), 'are the same file'),
        (('--out', 'y.json', '--save-tracks', 'link/y.json'), 'are the same file'),
        (('--overlay', 'y.mp4', '--save-tracks', 'y.mp4'), '--overlay and --save-tracks are'),
        (('--out', 'x.mcap', '--overlay', 'x.avi'), 'must end in .mp4'),
        (('--out', 'x.mcap', '--overlay', 'no/x.mp4'), 'no is not a folder'),
        (('--out', 'x.mcap', '--save-tracks', 'no/t'), 'no is not a folder'),
        (('--out', 'dangling.mcap'), 'exists'),
        (('--overlay', 'my clip.mp4'), 'is read by this run'),
        (('--overlay', 'hard.mp4'), 'is read by this run'),
    ],
)
def test_bad_outputs_leave_nothing(tam, video, tmp_path, monkeypatch, capsys, outputs, words):
    monkeypatch.chdir(tmp_path)
    Path('sub').mkdir()
    os.symlink('.', 'link')
    os.symlink('nowhere', 'dangling.mcap')
    os.link(video, 'hard.mp4')
    before, content = names(tmp_path), video.read_bytes()
    assert tam(video, *POINT, *outputs) == 2
    assert words in capsys.readouterr().err
    assert names(tmp_path) == before and video.read_bytes() == content


@pytest.mark.parametrize('name', ['o.mcap', 'o.json', 'masks'])
def test_a_name_that_another_run_writes_is_refused_at_once(tam, video, tmp_path, capsys, name):
    with NewOutput(tmp_path / name):
        assert tam(video, *POINT, '--out', tmp_path / name) == 2
        captured = capsys.readouterr()
        assert 'is being written by another run' in captured.err
        assert 'run by fake' not in captured.out, 'the model need not be opened for that'
    assert tam(video, *POINT, '--out', tmp_path / name) == 0


def test_nothing_is_left_if_the_first_frame_cannot_be_written(tam, video, tmp_path, monkeypatch):
    def refuse(*_):
        raise VideoWriteError('no codec')

    outputs = ('--out', tmp_path / 'o.mcap', '--overlay', tmp_path / 'o.mp4')
    with monkeypatch.context() as patched:
        patched.setattr(VideoWriter, 'write', refuse)
        assert tam(video, *POINT, *outputs) == 2
    assert names(tmp_path) == [video.name]
    assert tam(video, *POINT, *outputs) == 0


def test_saved_tracks_that_cannot_be_written_leave_the_results(tam, video, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Tracker, 'save', full)
    outputs = ('--out', tmp_path / 'o.json', '--save-tracks', tmp_path / 'tracks')
    assert tam(video, *POINT, *outputs) == 2
    assert names(tmp_path) == [video.name, 'o.json']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_frame_leaves_nothing(tam, video, tmp_path, monkeypatch, number):
    def interrupted(*_):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(Tracker, 'check', interrupted)
    monkeypatch.setattr('tam_ros.recordings.interruption._forget_terminal', lambda: None)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as status:
        tam(video, *POINT, '--out', tmp_path / 'o.mcap')
    assert status.value.code == 128 + number
    assert names(tmp_path) == [video.name] and signal.getsignal(number) is before


def test_both_ways_into_a_bag(tam, video, tmp_path):
    prompt = ('--prompt', '1:point:60,60@4')
    assert tam(video, *prompt, '--both-ways', '--out', tmp_path / 'o.mcap') == 0
    messages = read_bag(tmp_path / 'o.mcap')['/track_node/objects']
    assert [message.objects[0].age_frames for message in messages] == [0] * 5 + [1, 2, 3]
    ages = [message.objects[0].age_seconds for message in messages]
    np.testing.assert_allclose(ages, [0] * 5 + [0.1, 0.2, 0.3], atol=1e-6)


@pytest.mark.parametrize('direction', [(), ('--both-ways',)])
def test_clicks_off_an_object_alone_are_refused(tam, video, tmp_path, capsys, direction):
    out = ('--out', tmp_path / 'o.json', *direction)
    assert tam(video, '--prompt', '1:point:50,60,0', *out) == 2
    assert 'object 1 has only clicks off it: add a click on it' in capsys.readouterr().err
    later = ('--prompt', '1:point:50,60,0@1', '--prompt', '1:point:50,60@3')
    assert tam(video, *later, *out) == 2
    together = ('--prompt', '1:point:5,6,0', *POINT, '--prompt', '1:point:9,9,0@3')
    assert tam(video, *together, *out) == 0


@pytest.mark.parametrize(
    ('option', 'value', 'words'),
    [
        ('--threads', '100000', '100000 is too many: at most'),
        ('--hide-below', '2', '2 is not between 0 and 1'),
        ('--hide-below', 'nan', 'nan is not between 0 and 1'),
        ('--max-objects', '0', '0 is less than 1'),
    ],
)
def test_numbers_out_of_range(tam, video, capsys, option, value, words):
    with pytest.raises(SystemExit) as caught:
        tam(video, *POINT, '--out', 'o.json', option, value)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize('direction', [(), ('--both-ways',)])
def test_hide_below_is_an_option_of_the_tracker(tam, video, tmp_path, monkeypatch, direction):
    tracker = ClipTracker if direction else Tracker
    given, opened = [], tracker.open

    def recorded(*arguments, options, **others):
        given.append(options.hide_below)
        return opened(*arguments, options=options, **others)

    monkeypatch.setattr(tracker, 'open', recorded)
    out = ('--out', tmp_path / 'o.mcap', '--hide-below', '0.4')
    assert tam(video, *POINT, *out, *direction) == 0
    assert given == [0.4]


@pytest.mark.parametrize('content', [b'', b'text', b'\x93NUMPY\x01\0', b'PK\x03\x04'])
def test_another_file_for_load_tracks(tam, video, tmp_path, capsys, content):
    (tmp_path / 'file').write_bytes(content)
    assert tam(video, '--load-tracks', tmp_path / 'file', '--out', tmp_path / 'o.json') == 2
    error = capsys.readouterr().err
    assert 'cannot be read as a file of tracks' in error
    assert 'pickle' not in error


def test_names_that_the_terminal_cannot_show(tam, video, tmp_path, monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), 'ascii', write_through=True)
    monkeypatch.setattr(sys, 'stdout', shown)
    assert tam(video, *POINT, '--out', tmp_path / 'Ausgabe ä.json') == 0
    assert b'Ausgabe \\xe4.json: 8 frames' in shown.buffer.getvalue()


def test_a_time_lapse_is_shown_at_a_rate_that_can_be_watched(tam, frames, tmp_path, capsys):
    assert tam(frames, '--rate', '0.05', *POINT, '--overlay', tmp_path / 'o.mp4') == 0
    assert 'o.mp4 shows 30 frames per second; ' in capsys.readouterr().err
