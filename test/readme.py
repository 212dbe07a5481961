# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The Python examples of the documentation, for tests that run them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'


def run_example(name: str, file: Path = README) -> dict:
    """Execute the only example of a file in which a name occurs; return its variables."""
    blocks = re.findall(r'^```python\n(.*?)^```$', file.read_text(), re.DOTALL | re.MULTILINE)
    (source,) = (block for block in blocks if name in block)
    variables: dict = {}
    exec(compile(source, str(file), 'exec'), variables)
    return variables
