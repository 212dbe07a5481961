# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A run labels what is not finished, whatever happens to recordings and workers."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tam_ros.cli import main
from tam_ros.detection import Detections, Detector
from tam_ros.labelling.job import JobError, read_job
from tam_ros.labelling.labeller import Labeller
from tam_ros.labelling.run import run
from tam_ros.labelling.state import OutputFolder
from tam_ros.labelling.workers import Event, Workers, attempt


class OneWorker(Workers):
    """Labels in this process. A test may let it end before a recording is labelled.

    Attributes:
        ends: how often it ends, by name of the recording.
        labelled: names of the recordings that it was given.
    """

    def __init__(self, ends: dict[str, int] | None = None) -> None:
        self.ends = ends or {}
        self.labelled: list[str] = []
        self._events: list[Event] = []
        self._labeller = Labeller()

    def free(self) -> int:
        return 0 if self._events else 1

    def start(self, task) -> None:
        name = task.recording.name
        self.labelled.append(name)
        if self.ends.get(name, 0) > 0:
            self.ends[name] -= 1
            (task.draft / 'half').write_text('half')
            self._events.append(Event(task.key, lost='killed'))
            return
        frames = []
        event = attempt(self._labeller, task, lambda done, count: frames.append(done))
        self._events += [Event(task.key, done) for done in frames] + [event]

    def events(self, timeout):
        found, self._events = self._events, []
        return found

    def close(self) -> None:
        self._labeller.close()


def label(job: Path, workers: OneWorker | None = None, **options):
    job_ = read_job(job)
    with OutputFolder(job_.output) as folder:
        return run(job_, folder, workers or OneWorker(), 'model', **options)


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob('*')
        if path.is_file() and '.tam_label' not in path.parts
    }


def test_labels_are_those_of_tam_track(write_job, clips, tmp_path):
    recordings = [
        {'source': 'clips/first', 'prompts': ['1:box:10,20,30,40', '2:point:5,5@2']},
        {'source': 'clips/second', 'prompts': ['3:point:15,25'], 'both_ways': True},
        {'source': 'clips/third', 'prompts': ['1:point:15,25']},
    ]
    summary = label(write_job(recordings=recordings, write=['png', 'bag']))
    assert [one.frames for one in summary.finished] == [6, 6, 6] and not summary.failed
    for one in recordings:
        name = one['source'].removeprefix('clips/')
        options = [text for prompt in one['prompts'] for text in ('--prompt', prompt)]
        if one.get('both_ways'):
            options.append('--both-ways')
        alone = tmp_path / 'alone' / name
        alone.parent.mkdir(exist_ok=True)
        assert main(['track', str(clips / name), *options, '--out', str(alone)]) == 0
        expected = sorted(path.read_bytes() for path in alone.iterdir())
        found = sorted(path.read_bytes() for path in (tmp_path / 'out/masks' / name).iterdir())
        assert found == expected


def test_a_second_run_labels_nothing(write_job, tmp_path):
    job = write_job(write=['png', 'coco', 'yolo', 'davis', 'youtube_vos'])
    label(job)
    before = files(tmp_path / 'out')
    workers = OneWorker()
    summary = label(job, workers)
    assert workers.labelled == [] and summary.before == 3
    assert files(tmp_path / 'out') == before


def test_finished_recordings_are_found_by_content(write_job, clips, tmp_path):
    label(write_job())
    (clips / 'first').rename(clips / 'renamed')
    workers = OneWorker()
    summary = label(write_job(), workers)
    assert workers.labelled == [] and len(summary.finished) == 3
    cv2.imwrite(str(clips / 'second' / '003.png'), np.zeros((60, 80, 3), np.uint8))
    summary = label(write_job(), workers)
    assert workers.labelled == ['second'] and not summary.failed and not summary.stale
    assert len(files(tmp_path / 'out' / 'masks')) == 18


def test_other_prompts_replace_the_results(write_job, tmp_path):
    label(write_job(write=['yolo']))
    workers = OneWorker()
    recordings = [{'source': 'clips/*', 'prompts': ['1:box:30,20,50,40']}]
    summary = label(write_job(write=['yolo'], recordings=recordings, every=2), workers)
    assert sorted(workers.labelled) == ['first', 'second', 'third'] and not summary.stale
    assert len(list((tmp_path / 'out/yolo/images/train').iterdir())) == 9


def test_recordings_that_are_no_longer_in_the_job(write_job, clips, tmp_path):
    label(write_job())
    shutil.rmtree(clips / 'first')
    assert label(write_job()).stale == ['first']
    assert (tmp_path / 'out/masks/first').exists()
    assert label(write_job(), prune=True).stale == []
    assert not (tmp_path / 'out/masks/first').exists()
    assert (tmp_path / 'out/masks/second').exists()


def test_the_same_recording_twice_is_labelled_once(write_job, clips):
    shutil.copytree(clips / 'first', clips / 'zcopy')
    workers = OneWorker()
    summary = label(write_job(), workers)
    assert workers.labelled == ['first', 'second', 'third']
    assert summary.same == {'zcopy': 'first'}


def test_a_recording_that_fails_does_not_stop_the_others(write_job, clips, tmp_path, capsys):
    (clips / 'second' / '000.png').write_bytes(b'no picture')
    (clips / 'third' / '004.png').write_bytes(b'no picture')
    summary = label(write_job())
    assert 'cannot be read' in summary.failed['second']
    assert [one.name for one in summary.finished] == ['first', 'third']
    assert '004.png' in summary.notes['third'] and summary.finished[1].frames == 4
    assert len(files(tmp_path / 'out' / 'masks')) == 10
    sheet = (tmp_path / 'out' / 'datasheet.md').read_text()
    assert '2 of 3 recordings' in sheet and '## Not labelled' in sheet


def test_workers_that_end(write_job, tmp_path):
    workers = OneWorker({'first': 2, 'second': 3})
    summary = label(write_job(), workers, retries=2)
    assert list(summary.failed) == ['second'] and '3 times: killed' in summary.failed['second']
    assert workers.labelled.count('first') == 3
    assert sorted(one.name for one in summary.finished) == ['first', 'third']
    assert 'half' not in ' '.join(files(tmp_path / 'out'))


def test_stopped_and_continued(write_job, tmp_path):
    done = []
    summary = label(
        write_job(), stop=lambda: len(done) > 0, report=lambda p: done.extend([1] * p.done)
    )
    finished = len(summary.finished)
    assert summary.stopped and 1 <= finished < 3
    workers = OneWorker()
    summary = label(write_job(), workers)
    assert summary.before == finished and len(workers.labelled) == 3 - finished
    assert len(summary.finished) == 3


def test_objects_without_a_class(write_job):
    recordings = [
        {'source': 'clips/first', 'prompts': ['1:point:15,25'], 'classes': {1: 'mug'}},
        {'source': 'clips/second', 'prompts': ['4:point:15,25'], 'classes': {1: 'mug'}},
        {'source': 'clips/third', 'prompts': ['1:point:15,25']},
    ]
    summary = label(write_job(recordings=recordings))
    assert 'object 4 of second has no class' in summary.failed['second']
    assert 'object 1 of third has no class' in summary.failed['third']


class FindsTheSquare(Detector):
    """Finds the bright square of the clips, where it is."""

    name, class_names, info = 'scripted', ('mug', 'dog'), {}

    def detect(self, image, tracked=None):
        y, x = np.nonzero(image[:, :, 0] > 245)
        box = (x.min(), 20, x.max() + 1, 40)
        return Detections([box], [0.9], [0], self.class_names)

    def close(self):
        pass


@pytest.mark.parametrize('classes', [[], ['mug', 'dog']])
def test_a_detector(write_job, tmp_path, monkeypatch, classes):
    opened = []

    def open_detector(name, **arguments):
        opened.append((name, arguments))
        return FindsTheSquare()

    monkeypatch.setattr(Detector, 'open', staticmethod(open_detector))
    recordings = [{'source': 'clips/first', 'detect': 'yolact_resnet50'}]
    job = write_job(
        recordings=recordings, write=['yolo'], detect_every=3, detect_classes=classes or None
    )
    summary = label(job)
    assert not summary.failed and summary.finished[0].objects == 1
    name, arguments = opened[0]
    assert name == 'yolact_resnet50' and arguments['options'].classes == tuple(classes)
    labels = tmp_path / 'out/yolo/labels/train'
    lines = [file.read_text() for file in sorted(labels.iterdir())]
    assert lines[0] == '' and all(lines[2:])  # prompted when the first frame has been tracked
    number = '1' if classes else '0'
    assert all(line.split()[0] == number for line in lines[2:])
    assert label(job).before == 1
    with pytest.raises(JobError, match='forwards only'):
        read_job(write_job(recordings=[{**recordings[0], 'both_ways': True}]))


def test_selected_frames(write_job, clips, tmp_path):
    for index in (1, 2, 4):  # pictures that do not differ from those before
        shutil.copy(clips / 'first' / '000.png', clips / 'first' / f'{index:03}.png')
    shutil.copy(clips / 'first' / '003.png', clips / 'first' / '004.png')
    recordings = [{'source': 'clips/first', 'prompts': ['1:point:15,25']}]
    summary = label(write_job(recordings=recordings, write=['davis', 'png'], changed=0.1))
    assert summary.finished[0].written == 3 and summary.finished[0].frames == 6
    pictures = sorted(
        path.name for path in (tmp_path / 'out/davis/JPEGImages/480p/first').iterdir()
    )
    assert pictures == ['00000.jpg', '00001.jpg', '00002.jpg']
    assert len(list((tmp_path / 'out/masks/first').iterdir())) == 6


def test_pictures_are_written_once(write_job, tmp_path):
    label(write_job(write=['yolo', 'davis', 'coco'], images='png'))
    one = tmp_path / 'out/yolo/images/train/first_00000.png'
    assert one.stat().st_nlink == 3
    with Image.open(one) as image, Image.open(tmp_path / 'clips/first/000.png') as original:
        assert (np.asarray(image) == np.asarray(original)).all()


def test_the_command(write_job, capsys, monkeypatch, clips):
    monkeypatch.setattr('tam_ros.labelling.workers.LocalWorkers', lambda count: OneWorker())
    job = write_job()
    assert main(['label', str(job), '--check']) == 0
    assert f'first: {clips / "first"} (train)' in capsys.readouterr().out
    assert main(['label', str(job)]) == 0
    assert '3 of 3 recordings, 18 frames' in capsys.readouterr().out
    cv2.imwrite(str(clips / 'first' / '000.png'), np.zeros((10, 10, 3), np.uint8))
    assert main(['label', str(job)]) == 2
    captured = capsys.readouterr()
    assert 'first: not labelled: ' in captured.out
    assert '1 of 3 recordings could not be labelled' in captured.err
    assert main(['label', str(job.with_name('none.yaml'))]) == 2
    assert 'none.yaml does not exist' in capsys.readouterr().err
