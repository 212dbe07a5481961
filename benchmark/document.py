# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Markdown tables, and the sections of documents that contain them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table.

    Raises:
        ValueError: a row has more or fewer cells than there are heads.
    """
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f'{len(row)} cells under {len(heads)} heads: {row}')
    lines = [heads, ['---'] * len(heads), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the comments `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises:
        ValueError: the file has no such comments, or several.
    """
    old = path.read_text(encoding='utf-8')
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    pattern = re.compile(f'({re.escape(begin)}\n).*?({re.escape(end)})', re.DOTALL)
    new, count = pattern.subn(lambda found: f'{found[1]}{text.strip()}\n{found[2]}', old)
    if count != 1:
        raise ValueError(f'{path} has {count} places between "{begin}" and "{end}", not one')
    path.write_text(new, encoding='utf-8')


def publish(text: str, name: str, path: Path | None) -> None:
    """Print a section, and write it into a document if one is given."""
    print(text)
    if path:
        replace_section(path, name, text)
        print(f'\nwritten to {path}')
