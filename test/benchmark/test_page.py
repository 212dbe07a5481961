# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the page: its table, and a short measurement."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('aiohttp', reason='aiohttp is not installed here: make test installs it')

from benchmark import page
from benchmark.graph import ROOT


def test_the_table_of_a_measurement():
    one = page.Measurement(np.array([50.0, 60.0, 70.0]), 29.5, 30.0, 0.25, 0.5, 0.61)
    nobody = page.Measurement(np.array([]), 0.0, 30.0, 0.0, 0.4, 0.0)
    rows = [['640x480', '0', *nobody.row()], ['640x480', '2', *one.row()]]
    text = page.describe(rows, [200.0, 202.0, 201.0, 203.0], 'Words.')
    assert '| 640x480 | 0 |  |  |  | 30.0 | 0 | 40 |  |' in text
    assert '| 640x480 | 2 | 60 | 69 | 29.5 | 30.0 | 25 | 50 | 0.6 |' in text
    assert (
        'came and went 4 times: 200 MB in the first third of the time, 203 MB in the last' in text
    )
    assert text.endswith('Words.')


@pytest.mark.slow
def test_a_short_measurement():
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    done = subprocess.run(
        [sys.executable, '-m', 'benchmark.page', '--seconds', '1', '--churn', '5'],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert '| 1280x720 | 5 |' in done.stdout and 'came and went' in done.stdout
