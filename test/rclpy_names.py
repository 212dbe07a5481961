# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which names of rclpy are used, and whether the source of another distribution has them.

There are no wheels of Humble. `python test/rclpy_names.py RCLPY` compares with a checkout of
https://github.com/ros2/rclpy: it writes the names that both have to humble_rclpy.txt, and prints
the others.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKED = Path(__file__).with_name('humble_rclpy.txt')
_FOLDERS = ('ros', 'client', 'demo')


@dataclass
class Api:
    """The names that a source defines.

    Attributes:
        modules: of each module, the names at its top, imported ones among them.
        attributes: of all classes; the type of an expression in our source is not known.
        parameters: of all functions and classes of one name.
    """

    modules: dict[str, set[str]] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    parameters: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def has(self, name: str) -> bool:
        """Return whether it has a name in the form of `used`."""
        if name.startswith('.'):
            return name[1:] in self.attributes
        if name.endswith(')'):
            function, _, keyword = name[:-1].partition('(')
            return keyword in self.parameters[function] or '**' in self.parameters[function]
        module, _, member = name.partition(':')
        return module in self.modules and (not member or member in self.modules[module])


def read_api(folder: Path) -> Api:
    """Read the modules below the folder `rclpy` of its source or of an installation."""
    api = Api()
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        tree = ast.parse(path.read_text())
        module = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        api.modules[module] = set(_assigned(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                api.attributes |= set(_assigned(node))
                # A class without a constructor of its own has that of a base.
                api.parameters[node.name] |= {'**'} if not _has_constructor(node) else set()
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                api.parameters[node.name] |= _parameters(node)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                api.attributes.add(node.attr)  # self.name = ...
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for one in node.body:
                    if isinstance(one, ast.FunctionDef) and one.name in ('__init__', '__new__'):
                        api.parameters[node.name] |= _parameters(one)
    for module in list(api.modules):  # a package has its modules as names
        parent, _, name = module.rpartition('.')
        if parent in api.modules:
            api.modules[parent].add(name)
    # Written in C++ with pybind11.
    for path in sorted(folder.parent.glob('src/rclpy/*.cpp')):
        api.attributes |= set(re.findall(r'"(\w+)"', path.read_text()))
    return api


def _assigned(tree: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the names that a module or class defines or imports, also below `if` and `try`."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for one in targets if isinstance(one, ast.Name))
        else:
            waiting += [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]


def _has_constructor(node: ast.ClassDef) -> bool:
    return any(isinstance(one, ast.FunctionDef) and one.name == '__init__' for one in node.body)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    given = node.args
    names = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    return names | ({'**'} if given.kwarg else set())


def used(known: Api) -> dict[str, str]:
    """Return the names of rclpy in our source, each with a place where it is used.

    `rclpy.node:Node` is imported, `.get_logger` is an attribute, `create_timer(clock)` a keyword.
    Attributes and keywords count if `known` has them and no class of ours. Names with an
    alternative for other distributions are left out: what is imported below `try`, and what
    `hasattr` or `getattr` asks for.
    """
    trees = {
        path: ast.parse(path.read_text())
        for name in _FOLDERS
        for path in sorted((ROOT / 'tam_ros' / name).rglob('*.py'))
    }
    ours: set[str] = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                ours |= set(_assigned(node))
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                ours.add(node.attr)
            if isinstance(node, ast.FunctionDef):
                ours.add(node.name)
    found: dict[str, str] = {}
    for path, tree in trees.items():
        asked = set(_asked_for(tree))
        foreign = set(_imported_from_elsewhere(tree))
        optional = {id(one) for one in _with_alternative(tree)}
        for node in ast.walk(tree):
            if id(node) in optional:
                continue
            for name in _names(node, known, ours | asked | foreign):
                found.setdefault(name, f'{path.relative_to(ROOT)}:{node.lineno}')
    return found


def _names(node: ast.AST, known: Api, ignored: set[str]) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'rclpy':
        yield from (f'{node.module}:{alias.name}' for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (a.name for a in node.names if a.name.split('.')[0] == 'rclpy')
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == 'rclpy':
            yield f'rclpy:{node.attr}'
        elif node.attr in known.attributes and node.attr not in ignored:
            yield f'.{node.attr}'
    elif isinstance(node, ast.Call):
        function = node.func
        name = (
            function.attr if isinstance(function, ast.Attribute) else getattr(function, 'id', '')
        )
        if name in known.parameters and name not in ignored:
            yield from (f'{name}({one.arg})' for one in node.keywords if one.arg)


def _asked_for(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') in ('hasattr', 'getattr'):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant))


def _imported_from_elsewhere(tree: ast.Module) -> Iterator[str]:
    """Yield names such as `Time`, which may be that of rclpy or of builtin_interfaces."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] != 'rclpy':
            yield from (alias.asname or alias.name for alias in node.names)


def _with_alternative(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(
            getattr(handler.type, 'id', '') == 'ImportError' for handler in node.handlers
        ):
            for statement in node.body:
                yield from ast.walk(statement)


def installed() -> Api:
    """Read the rclpy of this environment."""
    spec = importlib.util.find_spec('rclpy')
    assert spec is not None and spec.origin is not None
    return read_api(Path(spec.origin).parent)


def checked() -> set[str]:
    """Return the names that Humble has."""
    lines = CHECKED.read_text().splitlines()
    return {line for line in lines if line and not line.startswith('#')}


def main(source: str) -> None:
    """Compare with a checkout, and write the list."""
    other = read_api(Path(source) / 'rclpy' / 'rclpy')
    names = used(installed())
    comments = [line for line in CHECKED.read_text().splitlines() if line.startswith('#')]
    present = sorted(name for name in names if other.has(name))
    CHECKED.write_text('\n'.join((*comments, *present)) + '\n')
    for name, place in sorted(names.items()):
        if not other.has(name):
            print(f'{place}: {name} is not there')


if __name__ == '__main__':
    main(sys.argv[1])
