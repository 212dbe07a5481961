# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results are published completely, survive a kill at any moment, and are found by content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tam_ros.labelling.job import JobError, read_job
from tam_ros.labelling.state import OutputFolder, Record, key_of
from tam_ros.new_output import OutputError

RECORD = Record('k1', 'drive', '/x/drive.mcap', None, 'train', 'd', 'm', 3, 2, 1, 0.5, '0')


@pytest.fixture
def folder(tmp_path):
    with OutputFolder(tmp_path / 'out') as opened:
        yield opened


def fill(folder: OutputFolder, key: str, **files: str) -> None:
    draft = folder.draft(key)
    for name, text in files.items():
        path = draft / 'data' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def visible(folder: OutputFolder) -> dict[str, str]:
    return {
        str(path.relative_to(folder.path)): path.read_text()
        for path in folder.path.rglob('*')
        if path.is_file() and '.tam_label' not in path.parts
    }


def test_published_files_and_records(folder):
    fill(folder, 'k1', a='1', b='2')
    assert visible(folder) == {}
    folder.publish(replace(RECORD, parts={'yolo': {'x': [1]}}))
    assert visible(folder) == {'data/a': '1', 'data/b': '2'}
    assert folder.records() == {'k1': replace(RECORD, parts={'yolo': {'x': [1]}})}
    folder.remove('k1')
    assert visible(folder) == {} and folder.records() == {}
    assert not (folder.path / 'data').exists()


def test_what_was_not_made_here_is_not_replaced(folder):
    (folder.path / 'data').mkdir()
    (folder.path / 'data' / 'b').write_text('mine')
    fill(folder, 'k1', a='1', b='2')
    with pytest.raises(OutputError, match='was not made by this job'):
        folder.publish(RECORD)
    assert visible(folder) == {'data/b': 'mine'} and folder.records() == {}


def test_superseded_results_are_removed(folder):
    fill(folder, 'k1', a='1', b='2')
    folder.publish(RECORD)
    fill(folder, 'k2', a='3')
    folder.publish(replace(RECORD, key='k2'), superseded=['k1'])
    assert visible(folder) == {'data/a': '3'} and list(folder.records()) == ['k2']


def test_killed_while_publishing(tmp_path, monkeypatch):
    """A process that ends after any of the steps leaves nothing that the next run trips over."""
    rename = Path.rename
    for steps in range(3):
        path = tmp_path / f'out{steps}'
        left = [steps]

        def few(self, target, left=left):
            if self.parent.name == 'data' and not left[0]:
                raise KeyboardInterrupt
            left[0] -= self.parent.name == 'data'
            return rename(self, target)

        monkeypatch.setattr(Path, 'rename', few)
        with OutputFolder(path) as folder:
            fill(folder, 'k1', a='1', b='2')
            if steps < 2:
                with pytest.raises(KeyboardInterrupt):
                    folder.publish(RECORD)
                assert len(visible(folder)) == steps
            else:
                folder.publish(RECORD)
        monkeypatch.undo()
        with OutputFolder(path) as folder:
            if steps < 2:
                assert visible(folder) == {} and folder.records() == {}
                fill(folder, 'k1', a='1', b='2')
                folder.publish(RECORD)
            assert visible(folder) == {'data/a': '1', 'data/b': '2'}


def test_one_run_at_a_time(folder):
    with pytest.raises(OutputError, match='being written by another run'):
        OutputFolder(folder.path)


def test_damaged_records_are_reported(folder):
    (folder.path / '.tam_label' / 'records' / 'x.json').write_text('{"key": 1}')
    with pytest.raises(JobError, match=r'x\.json cannot be read as a record'):
        folder.records()


def test_keys_are_those_of_content_and_settings(write_job, tmp_path, folder):
    job = read_job(write_job())
    first, second, _ = job.recordings

    def key(job=job, recording=first, classes=('object',), digest='d', model='m'):
        return key_of(job, recording, classes, digest, model)

    assert key(recording=replace(first, name='other', source='/elsewhere')) == key()
    others = [
        key(digest='e'),
        key(model='n'),
        key(classes=('mug', 'object')),
        key(job=replace(job, every=2)),
        key(job=replace(job, write=('png', 'yolo'))),
        key(recording=replace(first, prompts=('1:point:1,1',))),
        key(recording=replace(first, split='val')),
        key(recording=replace(first, both_ways=True)),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert folder.digest_of(first.source) != folder.digest_of(second.source)
    copy = tmp_path / 'copy'
    copy.mkdir()
    for file in Path(first.source).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert folder.digest_of(str(copy)) == folder.digest_of(first.source)
    (copy / '000.png').write_bytes(b'other')
    assert folder.digest_of(str(copy)) != folder.digest_of(first.source)


def test_the_content_of_masks_counts(write_job, tmp_path):
    mask = tmp_path / 'mask.png'
    mask.write_bytes(b'1')
    job = read_job(write_job())
    recording = replace(job.recordings[0], masks=(str(mask), f'{mask}@3'))
    before = key_of(job, recording, ('object',), 'd', 'm')
    mask.write_bytes(b'2')
    assert key_of(job, recording, ('object',), 'd', 'm') != before
    mask.unlink()
    with pytest.raises(JobError, match='does not exist'):
        key_of(job, recording, ('object',), 'd', 'm')
