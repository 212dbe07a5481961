# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The imports of the package, read from its source, and the table that documents them."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'tam_ros'
DOCUMENT = ROOT / 'docs' / 'architecture.md'
HEADING = '## Who may import whom'
# Generated from msg/ and srv/; their code is not in the repository.
GENERATED = ('tam_ros.msg', 'tam_ros.srv')
# One name in the table for all libraries of ROS.
ROS = 'ROS'
ROS_LIBRARIES = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'launch',
    'launch_ros',
    'rcl_interfaces',
    'rclpy',
    'rosidl_parser',
    'rosidl_runtime_py',
    'sensor_msgs_py',
    'std_srvs',
    'tam_ros.msg',
    'tam_ros.srv',
    'tf2_ros',
}


@dataclass
class Imports:
    """What one file or one part imports, at its top or inside a function."""

    modules: set[str] = field(default_factory=set)  # of the package, by full name
    libraries: set[str] = field(default_factory=set)  # as the table names them


def module_name(path: Path) -> str:
    """Return the module's full name, of a package the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def modules() -> dict[str, Path]:
    """Return all files of the package by module name."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob('*.py'))}


def part_of(module: str) -> str:
    """Return the folder or the file directly below `tam_ros/` that a module belongs to."""
    return (module.split('.') + ['__init__'])[1]


def read_imports(types_too: bool) -> dict[str, Imports]:
    """Return the imports of each module.

    Args:
        types_too: count imports below `if TYPE_CHECKING`, which are never executed.
    """
    known = modules()
    found = {}
    for name, path in known.items():
        found[name] = Imports()
        for imported in _names(ast.parse(path.read_text()), known, types_too):
            if imported in known:
                found[name].modules.add(imported)
            elif (library := _library(imported)) is not None:
                found[name].libraries.add(library)
    return found


def _names(tree: ast.AST, known: Iterable[str], types_too: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, 'relative imports are not used here'
            for alias in node.names:
                submodule = f'{node.module}.{alias.name}'
                is_module = submodule in known or submodule in GENERATED
                yield submodule if is_module else node.module
        elif isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            for child in (node.body if types_too else []) + node.orelse:
                yield from _names(ast.Module([child], []), known, types_too)
        else:
            yield from _names(node, known, types_too)


def _library(module: str) -> str | None:
    """Return the name in the table of a module that is not ours; None for the standard library."""
    first, *rest = module.split('.')
    if first == 'tam_ros':
        assert f'tam_ros.{rest[0]}' in GENERATED, f'{module} does not exist'
        return ROS
    if first in ROS_LIBRARIES or first.endswith('_msgs'):
        return ROS
    return None if first in sys.stdlib_module_names else first


def imports_of_parts() -> dict[str, Imports]:
    """Return what each part imports of other parts (named as in the table) and of libraries."""
    found: dict[str, Imports] = defaultdict(Imports)
    for module, imports in read_imports(types_too=True).items():
        part = part_of(module)
        found[part].modules |= {part_of(name) for name in imports.modules} - {part, '__init__'}
        found[part].libraries |= imports.libraries
    return dict(found)


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the groups of nodes from which each reaches every other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1 or node in graph[node]:
                groups.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def read_table(text: str) -> dict[str, Imports]:
    """Return what the document allows each part, in the order of the table.

    A row is ``| `part` | what it does | `part`, `part`; libraries: `name` |``; a first cell
    with several names holds for each of them. Words that are not in backticks are ignored.
    """
    section = text.partition(f'\n{HEADING}\n')[2].partition('\n## ')[0]
    table = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        names = re.findall(r'`([^`]+)`', cells[0])
        if not line.lstrip().startswith('|') or len(cells) != 3 or not names:
            continue
        parts, _, libraries = cells[2].partition('libraries:')
        for name in names:
            table[name.rstrip('/').removesuffix('.py')] = Imports(
                {part.rstrip('/').removesuffix('.py') for part in re.findall('`([^`]+)`', parts)},
                set(re.findall('`([^`]+)`', libraries)),
            )
    return table


def cell(imports: Imports) -> str:
    """Return the last cell of a part's row, as the table should have it."""
    parts, libraries = (
        ', '.join(f'`{name}`' for name in sorted(names, key=str.lower))
        for names in (imports.modules, imports.libraries)
    )
    return (parts or 'nothing') + (f'; libraries: {libraries}' if libraries else '')
