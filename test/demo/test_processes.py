# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Child processes never outlive the demo, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tam_ros.demo.processes import ChildProcess, DemoError, wait_until

ROOT = Path(__file__).resolve().parents[2]

# A child with a child of its own: the first obeys SIGINT or not, the second ignores it.
FAMILY = """
import os, signal, subprocess, sys, time
IGNORING = 'import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)'
grandchild = subprocess.Popen([sys.executable, '-c', IGNORING])
if os.environ.get('STUBBORN'):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(60)
"""

PARENT = """
import sys, time
from pathlib import Path
from tam_ros.demo.processes import ChildProcess, raise_on_termination
raise_on_termination()
child = ChildProcess('family', [], Path(sys.argv[1]))
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def wait_for(condition, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def pids_in(log: Path) -> list[int]:
    assert wait_for(lambda: log.exists() and len(log.read_text().split()) >= 2)
    return [int(word) for word in log.read_text().split()]


@pytest.fixture
def family(tmp_path, monkeypatch):
    (tmp_path / 'family.py').write_text(FAMILY)
    path = f'{tmp_path}{os.pathsep}{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    monkeypatch.setenv('PYTHONPATH', path)
    return tmp_path / 'family.log'


@pytest.mark.parametrize('stubborn', ['', 'yes'])
def test_stop_ends_the_whole_group(family, monkeypatch, stubborn):
    monkeypatch.setenv('STUBBORN', stubborn)
    child = ChildProcess('family', [], family)
    pids = pids_in(family)
    assert child.exit_status() is None
    child.stop(grace_s=0.5)
    assert wait_for(lambda: not any(map(is_alive, pids)))
    assert child.exit_status() is not None
    child.stop()  # again does nothing


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_ends_everything(family, number):
    parent = subprocess.Popen([sys.executable, '-c', PARENT, str(family)])
    pids = pids_in(family)
    parent.send_signal(number)
    parent.wait(20)
    assert wait_for(lambda: not any(map(is_alive, pids)))


def test_killing_the_parent_ends_the_child(family):
    parent = subprocess.Popen([sys.executable, '-c', PARENT, str(family)])
    child, grandchild = pids_in(family)
    parent.kill()
    parent.wait(20)
    ended = wait_for(lambda: not is_alive(child))
    os.kill(grandchild, signal.SIGKILL)  # nobody is left to do it
    assert ended


def test_log_holds_what_the_child_said(family):
    child = ChildProcess('family', [], family)
    pids = pids_in(family)
    assert child.log_tail() == ' '.join(map(str, pids))
    child.stop(grace_s=0.5)


def test_waiting_says_who_ended_and_why(family, tmp_path):
    (tmp_path / 'broken.py').write_text('raise SystemExit("no such model")')
    child = ChildProcess('broken', [], family)
    with pytest.raises(DemoError, match='(?s)broken ended while starting.*no such model'):
        wait_until(lambda: time.sleep(0.05), 20, [child], 'starting')
    child.stop()


def test_waiting_ends(family):
    with pytest.raises(DemoError, match='gave up after 0 s of nothing'):
        wait_until(lambda: time.sleep(0.01), 0.1, [], 'nothing')
