"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / 'shared'


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
