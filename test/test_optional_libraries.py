# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A test file is skipped where a library is absent, and fails where it is wrong itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Python treats a module as not installed when `sys.modules` holds None for it.
CONFTEST = """
import sys
from optional_libraries import TestFile

sys.modules['torch'] = None

def pytest_pycollect_makemodule(module_path, parent):
    return TestFile.from_parent(parent, path=module_path)
"""


# What stands at the top of a test file, and the line about it in pytest's summary.
FILES = {
    'import torch': 'test_0.py: torch is not installed: make test installs it',
    'from torch.nn import Module': 'test_1.py: torch is not installed',
    'import numpy': 'PASSED test_2.py::test_any',
    'import numpy.misspelt': 'ERROR test_3.py',
    'from json import misspelt': 'ERROR test_4.py',
    'import not_in_the_table': 'ERROR test_5.py',
    '1 / 0': 'ERROR test_6.py',
    'try:\n    import torch\nexcept ImportError as error:\n    raise ValueError from error': (
        'test_7.py: torch is not installed'
    ),
}


def test_only_an_absent_library_skips_a_file(tmp_path):
    (tmp_path / 'conftest.py').write_text(CONFTEST)
    for number, statement in enumerate(FILES):
        text = f'{statement}\n\ndef test_any():\n    pass\n'
        (tmp_path / f'test_{number}.py').write_text(text)
    paths = [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
    options = ['-rA', '-pno:cacheprovider', '--rootdir=.', '--continue-on-collection-errors']
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *options, '.'],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    summary = done.stdout.partition('short test summary info')[2].splitlines()
    for statement, expected in FILES.items():
        assert any(expected in line for line in summary), (statement, done.stdout)
    assert '1 passed, 3 skipped, 4 errors' in summary[-1]
