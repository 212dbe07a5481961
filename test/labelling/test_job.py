# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a job file may say, and what is refused."""

from __future__ import annotations

import pytest
import yaml

from tam_ros.labelling.job import JobError, read_job, safe_name


def test_patterns_and_defaults(write_job, tmp_path):
    job = read_job(write_job())
    assert [one.name for one in job.recordings] == ['first', 'second', 'third']
    assert [one.source for one in job.recordings] == [
        str(tmp_path / 'clips' / name) for name in ('first', 'second', 'third')
    ]
    assert job.output == tmp_path / 'out' and job.write == ('png',)
    assert {one.split for one in job.recordings} == {'train'}
    assert job.classes == ('object',)


def test_names_are_unique_and_safe(write_job):
    prompts = ['1:point:3,3']
    job = read_job(
        write_job(
            recordings=[
                {'source': 'clips/first', 'prompts': prompts},
                {'source': 'clips/second', 'name': 'First', 'prompts': prompts},
                {'source': 'clips/third', 'name': '../my clip', 'prompts': prompts},
            ]
        )
    )
    assert [one.name for one in job.recordings] == ['first', 'First_2', 'my_clip']


@pytest.mark.parametrize(
    ('text', 'name'), [('..', 'recording'), ('a/b', 'a_b'), ('x' * 300, 'x' * 80), ('ü1', 'ü1')]
)
def test_safe_names(text, name):
    assert safe_name(text) == name


def test_validation_is_chosen_by_name_not_by_order(write_job):
    entry = {'prompts': ['1:point:3,3']}
    names = ['clips/first', 'clips/second', 'clips/third']

    def chosen(order):
        recordings = [{'source': name, **entry} for name in order]
        job = read_job(write_job(recordings=recordings, val=0.34))
        return {one.name for one in job.recordings if one.split == 'val'}

    assert len(chosen(names)) == 1 and chosen(names) == chosen(names[::-1])


def test_paths_are_beside_the_job(write_job, tmp_path):
    recordings = [
        {'source': 'clips/first', 'masks': ['first.png@2'], 'classes': {1: 'blue  mug'}},
        {'source': 'clips/second', 'tracks': 'tracks.npz'},
    ]
    first, second = read_job(write_job(recordings=recordings)).recordings
    assert first.masks == (str(tmp_path / 'first.png@2'),)
    assert second.tracks == str(tmp_path / 'tracks.npz')
    assert first.classes == {1: 'blue mug'}


RECORDING = {'source': 'clips/first', 'prompts': ['1:point:3,3']}


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'recordings': None}, "has no 'recordings'"),
        ({'recordings': []}, 'at least one'),
        ({'recordings': ['clips/first']}, 'recording 1 is not a mapping'),
        ({'recordings': [{**RECORDING, 'promts': []}]}, "did you mean 'prompts'?"),
        ({'recordings': [{**RECORDING, 'source': 'clips/tenth'}]}, 'there is no clips/tenth'),
        ({'recordings': [{**RECORDING, 'source': 3}]}, "source is '3', not a text"),
        (
            {'recordings': [{**RECORDING, 'source': 'clips/*', 'name': 'a'}]},
            'matches 3 recordings',
        ),
        ({'recordings': [{'source': 'clips/first'}]}, 'nothing to track'),
        ({'recordings': [{**RECORDING, 'split': 'test'}]}, 'choose of train, val'),
        ({'recordings': [{**RECORDING, 'classes': ['a']}]}, 'classes is not a mapping'),
        ({'recordings': [{**RECORDING, 'rate': 0}]}, 'frames per second'),
        (
            {'recordings': [{**RECORDING, 'tracks': 'x', 'both_ways': True}]},
            'forwards only',
        ),
        ({'write': []}, 'choose of bag, png'),
        ({'write': ['yolov8']}, 'choose of bag, png'),
        ({'every': 0}, 'every is 0'),
        ({'every': 'two'}, "every is 'two'"),
        ({'threads': True}, 'threads is True'),
        ({'val': 2}, 'val is 2'),
        ({'changed': 0}, 'changed is 0'),
        ({'images': 'bmp'}, 'choose of jpg, png'),
        ({'outputs': 'x'}, "did you mean 'output'?"),
    ],
)
def test_refused(write_job, changes, words):
    with pytest.raises(JobError, match='job.yaml') as caught:
        read_job(write_job(**changes))
    assert words in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'- a', b'{', b'\xff\xfe', b'a: &a [*a]', b'[' * 5000])
def test_files_that_are_no_jobs(tmp_path, content):
    path = tmp_path / 'job.yaml'
    path.write_bytes(content)
    with pytest.raises(JobError, match='job'):
        read_job(path)
    with pytest.raises(JobError, match='does not exist'):
        read_job(tmp_path / 'missing.yaml')


def test_addresses(tmp_path, write_job):
    pytest.importorskip('fsspec', reason='fsspec is not installed')
    job = read_job(write_job(recordings=[{**RECORDING, 'source': f'file://{tmp_path}/clips/s*'}]))
    assert [one.source for one in job.recordings] == [f'file://{tmp_path}/clips/second']
    with pytest.raises(JobError, match='cannot be'):
        read_job(write_job(recordings=[{**RECORDING, 'source': 'nonsense://x/y'}]))
    assert yaml.safe_load((tmp_path / 'job.yaml').read_text())
