# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every command opens its model once and closes it, also after errors and Ctrl-C."""

from __future__ import annotations

import pytest
from evaluation.datasets import moving, write

from tam_ros.tracking import ClipTracker, Tracker

BOX = ('--prompt', '1:box:28,38,72,82@2')


@pytest.fixture
def commands(frames, tmp_path) -> dict[str, list[str]]:
    dataset = write(tmp_path / 'data', 'moves', moving())
    track = ['track', str(frames), *BOX, '--out', str(tmp_path / 'out')]
    return {
        'track': track,
        'track --both-ways': [*track, '--both-ways'],
        'bench': ['bench', '--frames', '2', '--size', '160x120'],
        'eval': ['eval', str(dataset)],
    }


COMMANDS = ('track', 'track --both-ways', 'bench', 'eval')


@pytest.mark.parametrize('name', COMMANDS)
def test_after_success(commands, name, opened, tam_fake):
    assert tam_fake(*commands[name]) == 0
    assert [runtime.closed for runtime in opened] == [1]


@pytest.mark.parametrize(('error', 'status'), [(KeyboardInterrupt, 130), (OSError('lost'), 2)])
@pytest.mark.parametrize('name', COMMANDS)
def test_after_errors(commands, name, opened, tam_fake, monkeypatch, error, status):
    """In the first step, and in a later one, when the outputs are open."""
    kind = ClipTracker if name.endswith('--both-ways') else Tracker
    step = kind.step
    for failing in (0, 3):
        opened.clear()
        steps = iter(range(100))

        def fail(self, *arguments, **options):
            if next(steps) == failing:  # noqa: B023 - used within this turn of the loop
                raise error
            return step(self, *arguments, **options)

        monkeypatch.setattr(kind, 'step', fail)
        assert tam_fake(*commands[name]) == status
        assert [runtime.closed for runtime in opened] == [1]


def test_after_a_refused_prompt(frames, opened, tam, tmp_path, capsys):
    for direction in ([], ['--both-ways']):
        opened.clear()
        outside = ('--prompt', '1:point:500,6')
        assert tam(frames, *outside, '--out', tmp_path / 'out', *direction) == 2
        assert "'1:point:500,6,1' cannot be used" in capsys.readouterr().err
        assert [runtime.closed for runtime in opened] == [1]
        assert not (tmp_path / 'out').exists()


def test_after_a_damaged_recording(frames, opened, tam, tmp_path):
    (frames / 'cam_6.png').write_bytes(b'')
    assert tam(frames, *BOX, '--out', tmp_path / 'out') == 2
    assert [runtime.closed for runtime in opened] == [1]
