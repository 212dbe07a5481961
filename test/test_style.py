"""What the linters of ROS look at, as tests.

flake8 (with its plugins for quotes, import order, comprehensions and builtins) and pep257 are
ruff's rules of the same names, chosen in pyproject.toml. xmllint is below.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_ruff_is_silent():
    if importlib.util.find_spec('ruff') is None:
        pytest.skip('ruff is not installed here: make test installs it')
    answer = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--no-cache', '.'],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize('name', ['package.xml', 'config/fastdds_images.xml'])
def test_xml_is_well_formed(name):
    """What xmllint says without a schema; that of package.xml is in setup/test_package.py."""
    ElementTree.parse(ROOT / name)
