# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests; files whose libraries are not installed are skipped."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from optional_libraries import TestFile

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / 'shared'

# What runs in the background of a script ignores Ctrl-C, and so would the processes it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup ignores a closed terminal.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return TestFile.from_parent(parent, path=module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that one process runs, and exhaustive ones as slow for `-m 'not slow'`."""
    for item in items:
        folder = item.path.parent
        # Tests of a file share fixtures. Those of test/export share the graphs, exported once.
        group = folder if folder.name == 'export' else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))
        if item.get_closest_marker('exhaustive'):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Real sequences, bags and pictures; they are not part of the repository."""
    return _present(SHARED / 'data')


@pytest.fixture(scope='session')
def shared_parity() -> Path:
    """Reference outputs of the official models; they are not part of the repository."""
    return _present(SHARED / 'parity')


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f'no ../shared/{folder.name} beside the repository')
    return folder
