# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Outputs appear when they are complete; two runs never write, replace or remove each other's."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.coco_writer import CocoImage, CocoWriter
from tam_ros.io.frames import Header
from tam_ros.io.mask_files import MaskFolder
from tam_ros.io.video_writer import VideoWriter
from tam_ros.new_output import NewOutput, OutputError, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WRITE_HALF = """
import sys, tam_ros.new_output
output = tam_ros.new_output.NewOutput(sys.argv[1])
output.partial.write_text('half')
print('ready', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path):
    """Another process that is writing `tmp_path/o.json`."""
    command = [sys.executable, '-c', WRITE_HALF, str(tmp_path / 'o.json')]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b'ready\n'
    yield process
    process.kill()
    process.communicate()


def test_an_output_appears_when_it_is_published(tmp_path):
    with NewOutput(tmp_path / 'o.json') as output:
        output.partial.write_text('{}')
        assert output.partial.name == 'o.json'
        assert not (tmp_path / 'o.json').exists()
        output.publish()
    assert names(tmp_path) == ['o.json']


def test_an_output_that_is_not_published_leaves_nothing(tmp_path):
    with NewOutput(tmp_path / 'o.json') as output:
        output.partial.write_text('{')
    assert names(tmp_path) == []


def test_a_file_is_written_in_one_call_and_nothing_is_replaced(tmp_path):
    write_file(tmp_path / 'a.bin', b'one')
    with pytest.raises(OutputError, match='exists'):
        write_file(tmp_path / 'a.bin', b'two')
    assert (tmp_path / 'a.bin').read_bytes() == b'one'
    assert names(tmp_path) == ['a.bin']


def test_a_file_for_which_there_is_no_room_leaves_nothing(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OutputError, match='No space left'):
        write_file(tmp_path / 'a.bin', b'one')
    assert names(tmp_path) == []


def test_the_name_is_taken_while_another_run_writes(tmp_path, other_run):
    with pytest.raises(OutputError, match=r'o\.json is being written by another run'):
        NewOutput(tmp_path / 'o.json')
    with pytest.raises(OutputError, match='another run'):
        NewOutput(tmp_path / '..' / tmp_path.name / 'o.json')
    os.symlink(tmp_path, tmp_path / 'link')
    with pytest.raises(OutputError, match='another run'):
        NewOutput(tmp_path / 'link' / 'o.json')


def test_the_name_is_free_after_a_run_was_killed_and_its_results_remain(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    (left,) = tmp_path.glob('o.json.*.partial')
    with NewOutput(tmp_path / 'o.json') as output:
        output.partial.write_text('{}')
        output.publish()
    assert names(tmp_path) == ['o.json', left.name]
    assert (left / 'o.json').read_text() == 'half'


@pytest.mark.parametrize('name', ['o.json.part', 'o.json.partial', '.o.json.partial'])
def test_what_others_made_is_never_removed(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'mine').write_text('mine')
    with NewOutput(tmp_path / 'o.json') as output:
        output.partial.write_text('{}')
        output.publish()
    assert (tmp_path / name / 'mine').read_text() == 'mine'


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_what_appeared_in_the_meantime_is_kept_and_so_are_the_results(tmp_path, kind):
    output = NewOutput(tmp_path / 'o')
    if kind == 'folder':
        output.partial.mkdir()
    else:
        output.partial.write_text('results')
    (tmp_path / 'o').write_text('mine')
    with pytest.raises(OutputError, match='the results are in') as error:
        output.publish()
    assert (tmp_path / 'o').read_text() == 'mine'
    assert str(output.partial) in str(error.value) and output.partial.exists()


def test_a_dangling_link_is_not_replaced(tmp_path):
    os.symlink(tmp_path / 'nowhere', tmp_path / 'o.json')
    with pytest.raises(OutputError, match='exists'):
        NewOutput(tmp_path / 'o.json')


def test_a_name_of_the_greatest_length(tmp_path):
    path = tmp_path / ('ä' * 125 + '.json')
    with NewOutput(path) as output:
        output.partial.write_text('{}')
        output.publish()
    assert path.read_text() == '{}'


def test_a_file_system_without_locks_and_hard_links(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, 'Operation not supported')

    monkeypatch.setattr(os, 'link', unsupported)
    monkeypatch.setattr(fcntl, 'flock', unsupported)
    first, second = NewOutput(tmp_path / 'o'), NewOutput(tmp_path / 'o')
    for output in (first, second):
        output.partial.write_text('results')
    first.publish()
    with pytest.raises(OutputError, match='created by another program'):
        second.publish()


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(os, 'open', read_only)
    with pytest.raises(OutputError, match='o.json cannot be written: Read-only file system'):
        NewOutput(tmp_path / 'o.json')


WRITERS = {'o.mcap': BagWriter, 'bag': BagWriter, 'o.json': CocoWriter, 'masks': MaskFolder}
WRITERS['o.mp4'] = lambda path: VideoWriter(path, 10)


def write_one(writer) -> None:
    labels = np.ones((30, 40), np.uint16)
    if isinstance(writer, BagWriter):
        writer.write_labels('/labels', Header(1, ''), labels)
    elif isinstance(writer, CocoWriter):
        item = SimpleNamespace(
            id=1, area=1200, mask=labels > 0, box=(0, 0, 40, 30), score=1.0, state='visible'
        )
        writer.write(CocoImage(0, 'a.png', (30, 40), 0), [item])
    elif isinstance(writer, MaskFolder):
        writer.write('a', labels)
    else:
        writer.write(np.zeros((30, 40, 3), np.uint8))


@pytest.mark.parametrize('name', WRITERS)
def test_every_writer_reserves_its_name(tmp_path, name):
    with WRITERS[name](tmp_path / name) as writer:
        write_one(writer)
        with pytest.raises(OutputError, match='another run'):
            WRITERS[name](tmp_path / name)
        assert not (tmp_path / name).exists()
    assert names(tmp_path) == [name]
    with pytest.raises(OutputError, match='exists'):
        WRITERS[name](tmp_path / name)


@pytest.mark.parametrize('name', WRITERS)
def test_every_writer_can_discard(tmp_path, name):
    with WRITERS[name](tmp_path / name) as writer:
        write_one(writer)
        writer.discard()
    assert names(tmp_path) == []
