# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the linters of ROS look at, as tests.

flake8 (with its plugins for quotes, import order, comprehensions and builtins) and pep257 are
ruff's rules of the same names, chosen in pyproject.toml. xmllint and copyright are below.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('benchmark', 'launch', 'scripts', 'tam_ros', 'test', 'training')
OTHERS = ('.ci/run', 'CMakeLists.txt', 'Makefile', 'env.sh', 'setup.py')
LICENCE = '# Copyright the tam_ros maintainers\n# SPDX-License-Identifier: Apache-2.0\n'


def test_ruff_is_silent():
    if importlib.util.find_spec('ruff') is None:
        pytest.skip('ruff is not installed here: make test installs it')
    answer = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--no-cache', '.'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize('name', ['package.xml', 'config/fastdds_images.xml'])
def test_xml_is_well_formed(name):
    """What xmllint says without a schema; that of package.xml is in setup/test_package.py."""
    ElementTree.parse(ROOT / name)


def test_every_source_names_its_licence():
    """REP 2004 asks for it in each file; the two lines come first, below `#!`."""
    folders = [path for folder in FOLDERS for path in (ROOT / folder).rglob('*')]
    sources = [path for path in folders if path.suffix in ('.py', '.sh', '.cmake')]
    sources += [path for path in (ROOT / 'scripts').iterdir() if path.is_file()]
    sources += [ROOT / name for name in OTHERS]
    lacking = []
    for path in sources:
        text = path.read_text()
        first, _, rest = text.partition('\n')
        if text and not (rest if first.startswith('#!') else text).startswith(LICENCE):
            lacking.append(str(path.relative_to(ROOT)))
    assert not lacking, f'without the two lines {LICENCE!r}: {", ".join(sorted(lacking))}'
