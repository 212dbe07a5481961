# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What `make lint` and the linters of ROS check.

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
import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('benchmark', 'launch', 'scripts', 'tam_ros', 'test', 'training')
OTHERS = ('.ci/run', '.pre-commit-config.yaml', 'CMakeLists.txt', 'Makefile', 'env.sh', 'setup.py')
LICENCE = '# Copyright the tam_ros maintainers\n# SPDX-License-Identifier: Apache-2.0\n'


@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('ruff', ['check', '--no-cache', '.']),
        ('ruff', ['format', '--check', '--no-cache', '.']),
        ('mypy', []),
    ],
    ids=['ruff check', 'ruff format', 'mypy'],
)
def test_make_lint_finds_nothing(tool, arguments):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f'{tool} is not installed here: make test installs it')
    done = subprocess.run(
        [sys.executable, '-m', tool, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_before_a_commit_are_those_of_make_lint_and_download_nothing():
    repositories = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    assert [repository['repo'] for repository in repositories] == ['local']
    hooks = repositories[0]['hooks']
    assert {hook['language'] for hook in hooks} == {'system'}
    assert [hook['id'] for hook in hooks] == ['ruff-check', 'ruff-format', 'mypy']
    assert not any('additional_dependencies' in hook for hook in hooks)
    python, module = '.venv/bin/python', '-m'
    assert all(hook['entry'].split()[:2] == [python, module] for hook in hooks)


@pytest.mark.parametrize(
    'name', ['package.xml', 'config/fastdds_images.xml', 'config/fastdds_udp.xml']
)
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
