# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What `.ci/run` makes of the results of `make lint` and `make test`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / '.ci' / 'run'
PASSED = '===== 12 passed, 3 skipped in 4.56s ====='
FAILED = '===== 1 failed, 11 passed in 4.56s (0:00:04) ====='


@pytest.mark.parametrize(
    ('lint', 'test', 'printed', 'status', 'last'),
    [
        (0, 0, PASSED, 0, PASSED),
        (0, 2, FAILED, 2, FAILED),
        (0, 2, 'no space left', 2, 'no test ran: see above'),
        (0, 0, 'nothing to do', 1, 'no test ran: see above'),
        (2, 0, PASSED, 2, 'no test ran: make lint failed, see above'),
    ],
)
def test_the_last_line_and_the_status(tmp_path, lint, test, printed, status, last):
    make = tmp_path / 'make'
    make.write_text(
        '#!/bin/sh\n'
        f'[ "$1" = lint ] && exit {lint}\n'
        f'printf "%s\\n" "ran $1" "{printed}" "after it"\n'
        f'exit {test}\n'
    )
    make.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        [SCRIPT], env=os.environ | {'PATH': path}, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (status, last), done.stdout
    assert ('ran test' in lines) == (lint == 0)
