#!/usr/bin/env python3
# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Write a bill of materials of `.venv`, or compare it with the databases of known holes.

    python scripts/supply_chain.py sbom [--out sbom.json]
    python scripts/supply_chain.py audit

Run through `make sbom` and `make audit`, with the Python of the environment in question. The tool
is installed into an environment of its own, which is removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BOM_TOOL = 'cyclonedx-bom>=7,<8'
AUDIT_TOOL = 'pip-audit>=2.10,<3'
# Is in every environment, and in every database: one that does not know it did not answer.
WITNESS = 'numpy'


class ToolError(RuntimeError):
    """A tool cannot be installed or has failed; the message is its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one action; return the exit status: 1 if there are known holes, 2 after an error."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    actions = parser.add_subparsers(required=True, metavar='ACTION', dest='action')
    bom = actions.add_parser('sbom', help='write a bill of materials in the CycloneDX format')
    bom.add_argument('--out', type=Path, default=ROOT / 'sbom.json')
    actions.add_parser('audit', help='look for packages with known holes; needs a connection')
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix='tam-ros-tool-') as folder:
            if options.action == 'sbom':
                print(write_bom(Path(folder), options.out))
                return 0
            return report(audit(Path(folder)))
    except ToolError as error:
        print(f'{options.action}: {error}', file=sys.stderr)
        return 2


def install(folder: Path, requirement: str) -> Path:
    """Install a tool into a new environment; return the folder of its programs."""
    venv.create(folder / 'env', with_pip=True)
    programs = folder / 'env' / 'bin'
    run([str(programs / 'python'), '-m', 'pip', 'install', '-q', requirement])
    return programs


def run(command: Sequence[str], allowed: Iterable[int] = (0,)) -> None:
    """Run a command; `ToolError` with the end of its output unless its status is allowed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in allowed:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ToolError(said[-1] if said else f'{command[0]} failed')


def write_bom(folder: Path, out: Path) -> str:
    """Write the bill of materials of the environment of this Python; return a line about it."""
    programs = install(folder, BOM_TOOL)
    draft = folder / 'sbom.json'
    command = [str(programs / 'cyclonedx-py'), 'environment', '--output-reproducible']
    command += ['--pyproject', str(ROOT / 'pyproject.toml'), '--of', 'JSON', '-o', str(draft)]
    run([*command, sys.executable])
    content = draft.read_text()
    out.write_text(content)
    return f'{out}: {len(json.loads(content)["components"])} components'


def audit(folder: Path) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package of the environment of this Python."""
    programs = install(folder, AUDIT_TOOL)
    answer = folder / 'audit.json'
    packages = sysconfig.get_path('purelib')
    command = [str(programs / 'pip-audit'), '--path', packages, '--progress-spinner', 'off']
    run([*command, '-f', 'json', '-o', str(answer)], allowed=(0, 1))  # 1: there are holes
    if not answer.is_file():
        raise ToolError('pip-audit wrote nothing')
    found: list[dict[str, Any]] = json.loads(answer.read_text())['dependencies']
    return found


def report(packages: Sequence[dict[str, Any]]) -> int:
    """Print the known holes, and what is not in the database; return the exit status.

    Raises:
        ToolError: the database did not answer, which pip-audit takes for a clean result.
    """
    skipped = sorted(one['name'] for one in packages if 'skip_reason' in one)
    known = [one for one in packages if 'skip_reason' not in one]
    if WITNESS not in {one['name'] for one in known}:
        raise ToolError(f'no database answered: it does not even know {WITNESS}')
    holes = [(one, hole) for one in known for hole in one['vulns']]
    for one, hole in holes:
        names = ', '.join([hole['id'], *hole.get('aliases', [])])
        fixed = ', '.join(hole.get('fix_versions', [])) or 'nothing yet'
        print(f'{one["name"]} {one["version"]}: {names}; fixed in {fixed}')
    print(f'{len(known)} packages compared, {len(holes)} known holes')
    if skipped:
        print(f'not in the database: {", ".join(skipped)}')
    return 1 if holes else 0


if __name__ == '__main__':
    sys.exit(main())
