# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The soak test: which faults it finds, and a short run of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmark import soak
from benchmark.graph import ROOT
from tam_ros.ros.diagnostics.shared_memory import describe

HEADER = (1, 2, 'camera')


def a_record(**values):
    seconds = list(range(100))
    given = {
        'seconds': seconds,
        'rss': [200_000_000] * 100,
        'private': [100_000_000] * 100,
        'threads': [18] * 100,
        'files': [23] * 100,
        'results': [30 * second for second in seconds],
        'objects': [4] * 100,
        'kills': [50.0],
        'returns': [0.7],
        'end': 3.0,
        'log': '[INFO] [1.0] [track_node]: opened',
        'status': 0,
    }
    return soak.Record(**{**given, **values})


def an_operator(**values):
    given = {
        'requests': [SimpleNamespace(wrong=lambda: None, sent=1.0, answered=1.5)],
        'heard': {'objects': [HEADER], 'labels': [HEADER]},
        'sent': {HEADER},
        'diagnosed': [0.0, 1.0, 2.0],
        'pauses': [(10.0, 11.0)],
        'done': {'add': 100},
    }
    return SimpleNamespace(**{**given, **values})


def test_a_run_without_faults():
    record, operator = a_record(), an_operator()
    assert soak.faults(record, operator) == []
    text = soak.describe(record, operator, 'command', 'model')
    assert 'Faults: **none**' in text
    assert 'that was sent: yes' in text
    assert '1 requests, 1 answered, the slowest after 0.50 s' in text


# Each row: what is wrong, and what the fault must mention.
@pytest.mark.parametrize(
    ('record', 'operator', 'words'),
    [
        pytest.param(
            {'private': np.linspace(1e8, 1.2e8, 100).tolist()}, {}, 'memory grew', id='leak'
        ),
        pytest.param({'files': list(range(100))}, {}, 'open files grew', id='files'),
        pytest.param({'threads': list(range(1, 101))}, {}, 'open threads grew', id='threads'),
        pytest.param({'log': 'Traceback (most'}, {}, 'log: Traceback', id='exception'),
        pytest.param({'log': '[ERROR] [1] [n]: x'}, {}, 'log: [ERROR]', id='error in the log'),
        pytest.param({'status': -9}, {}, 'status -9', id='it died'),
        pytest.param({'returns': [np.inf]}, {}, 'no results followed', id='no recovery'),
        pytest.param({}, {'heard': {'labels': [(9, 9, '')]}}, 'headers on labels', id='header'),
        pytest.param(
            {}, {'heard': {'objects': [HEADER] * 2}}, '1 headers arrived twice', id='header twice'
        ),
        pytest.param({}, {'diagnosed': []}, 'diagnostics stopped', id='no diagnostics'),
        pytest.param(
            {}, {'diagnosed': [-20.0, 2.0]}, 'diagnostics stopped', id='diagnostics paused'
        ),
        pytest.param({'end': 18.0}, {}, 'diagnostics stopped', id='no diagnostics at the end'),
        pytest.param(
            {},
            {'requests': [SimpleNamespace(wrong=lambda: 'reset was not answered', answered=None)]},
            'reset was not answered',
            id='no answer',
        ),
    ],
)
def test_faults_are_found(record, operator, words):
    (fault,) = soak.faults(a_record(**record), an_operator(**operator))
    assert words in fault


TRANSPORT = ['Fast DDS replaced port 53413 of the node']
# What a node that is cut off cannot be blamed for.
CUT_OFF = {'returns': [np.inf], 'private': np.linspace(1e8, 1.2e8, 100).tolist()}
UNANSWERED = [SimpleNamespace(wrong=lambda: 'reset was not answered', answered=None)]


def test_what_follows_from_a_failure_of_the_transport_is_no_fault():
    operator = an_operator(requests=UNANSWERED, diagnosed=[-20.0, 2.0])
    assert len(soak.faults(a_record(**CUT_OFF), operator)) == 4
    record = a_record(transport=TRANSPORT, **CUT_OFF)
    assert soak.faults(record, operator) == []
    text = soak.describe(record, operator, 'command', 'model')
    assert '- **Inconclusive**, ended early: Fast DDS replaced port 53413' in text


@pytest.mark.parametrize(
    ('record', 'operator', 'words'),
    [
        pytest.param({'log': 'Traceback (most'}, {}, 'log: Traceback', id='exception'),
        pytest.param({'status': -9}, {}, 'status -9', id='it died'),
        pytest.param({}, {'heard': {'labels': [(9, 9, '')]}}, 'headers on labels', id='header'),
        pytest.param(
            {},
            {'requests': [SimpleNamespace(wrong=lambda: 'reset was refused: x', answered=1.5)]},
            'reset was refused',
            id='wrong answer',
        ),
    ],
)
def test_faults_of_the_node_count_although_the_transport_failed(record, operator, words):
    record = a_record(transport=TRANSPORT, **record)
    (fault,) = soak.faults(record, an_operator(**operator))
    assert words in fault


def test_a_run_that_ends_in_its_first_second_is_described():
    first = {name: getattr(a_record(), name)[:1] for name in ('seconds', 'rss', 'private')}
    first |= {name: getattr(a_record(), name)[:1] for name in ('threads', 'files', 'results')}
    record = a_record(transport=TRANSPORT, objects=[0], **first)
    assert '0 results' in soak.describe(record, an_operator(requests=[]), 'command', 'model')


def test_lost_ports_name_their_process():
    ports = {
        'node': SimpleNamespace(check=lambda: [53413, 53414]),
        'camera': SimpleNamespace(check=lambda: []),
    }
    (failure,) = soak.lost(ports)
    assert failure.startswith('Fast DDS replaced port 53413, 53414 of the node')


def test_a_kill_removes_the_segments_of_that_process_and_no_others(tmp_path):
    ours, other = (Path(f'/dev/shm/fastrtps_{number:016x}_el') for number in (os.getpid(), 2**63))
    for lock in (ours, other):
        lock.touch()
        lock.with_name(lock.name.removesuffix('_el')).touch()
    try:
        code = (
            f'import time\nlock = open({str(ours)!r})\nprint("open", flush=True)\ntime.sleep(99)'
        )
        process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
        with process:
            assert process.stdout.readline() == b'open\n'
            soak._kill(SimpleNamespace(pid=process.pid, stop=process.wait))
        assert process.returncode == -signal.SIGKILL
        left = sorted(path.name for path in Path('/dev/shm').glob('fastrtps_*'))
        assert other.name in left and other.name.removesuffix('_el') in left
        assert ours.name not in left and ours.name.removesuffix('_el') not in left
    finally:
        for lock in (ours, other):
            lock.unlink(missing_ok=True)
            lock.with_name(lock.name.removesuffix('_el')).unlink(missing_ok=True)


def test_errors_that_are_no_faults_of_the_node():
    log = "[ERROR] [1] [n]: transition 3 is not possible in the state 'active'"
    assert soak.faults(a_record(log=log), an_operator()) == []
    log = f'[ERROR] [1] [n]: {describe([7411])}'
    assert soak.faults(a_record(log=log, transport=TRANSPORT), an_operator()) == []


def test_visitors_that_hang_are_replaced_and_counted(tmp_path, monkeypatch):
    class Visitor:
        name = 'benchmark.soak_visitor'

        def __init__(self, name, arguments, log):
            self.log = log
            log.write_text('visit\n')

    killed = []
    monkeypatch.setattr(soak, 'ChildProcess', Visitor)
    monkeypatch.setattr(soak, '_kill', killed.append)
    first = Visitor('', [], tmp_path / '2.log')
    children = [first]
    visitors = soak.Visitors(first, children)
    begin = visitors._changed
    assert visitors.check(begin) == (1, 0)
    first.log.write_text('visit\nvisit\n')
    assert visitors.check(begin + 30) == (2, 0)
    assert visitors.check(begin + 49) == (2, 0) and not killed
    assert visitors.check(begin + 51) == (2, 1) and killed == [first]
    assert len(children) == 2 and children[1].log != first.log
    assert visitors.check(begin + 52) == (3, 1)
    text = soak.describe(a_record(visits=3, hangs=1), an_operator(), 'command', 'model')
    assert 'created or destroyed 3 times, in a separate process, which hung 1 times' in text


def test_the_picture(tmp_path):
    soak.plot(a_record(), tmp_path / 'soak.png')
    with Image.open(tmp_path / 'soak.png') as picture:
        assert np.asarray(picture.convert('L')).std() > 5


@pytest.mark.slow
def test_a_short_soak():
    """Forty seconds without a fault, except memory that has not settled in so short a run.

    A run in which Fast DDS cut a process off says nothing about the node and is repeated.
    """
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, '-m', 'benchmark.soak', '--minutes', '0.65'],
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=300,
        )
        print(done.stdout, done.stderr)  # pytest shows it with a failure
        if done.returncode != soak.INCONCLUSIVE:
            break
    else:
        pytest.fail('Fast DDS failed in three runs of three')
    said = (re.findall(r'^- (?:Faults: )?\*\*(.*)', done.stdout, re.M) or [done.stderr])[-1]
    wrong = [one for one in said.split('; ') if 'memory grew' not in one]
    assert wrong == ['none**.'] or said.startswith('1 faults**: memory grew')
    # How many there are depends on the load of the machine.
    assert int(re.search(r'minutes, (\d+) results', done.stdout)[1]) > 20
    assert re.search(r'killed \(SIGKILL\) [1-9] times', done.stdout)
