# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The Python examples of README.md, for tests that run them."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / 'README.md'


def run_example(name: str) -> dict:
    """Execute the only example of README.md in which a name occurs; return its variables."""
    blocks = re.findall(r'^```python\n(.*?)^```$', README.read_text(), re.DOTALL | re.MULTILINE)
    (source,) = (block for block in blocks if name in block)
    variables: dict = {}
    exec(compile(source, str(README), 'exec'), variables)
    return variables
