# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Detects another node of the same name, such as one that an ended launch has left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable

FIRST_CHECKS = 10
"""How many of the first calls look at the graph: discovery takes up to a few seconds."""

PERIOD = 10
"""Every how many calls the graph is looked at afterwards."""

_CONFIRMED = 2  # looks in a row: a node that ends leaves the graph a moment later


class Namesakes:
    """Says when another node has the name of this one, and when no other has it any more.

    Attributes:
        problem: what is wrong now, or empty.
    """

    def __init__(self, name: str, names: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Look at nothing yet.

        Args:
            name: name of the node, fully qualified.
            names: returns name and namespace of all nodes of the graph;
                `Node.get_node_names_and_namespaces`.
        """
        self._name = name
        self._names = names
        self._calls = self._seen = 0
        self.problem = ''

    def check(self) -> str:
        """Return what to log if it has changed, or an empty text; call it once a second."""
        self._calls += 1
        if self._calls > FIRST_CHECKS and self._calls % PERIOD and not 0 < self._seen < _CONFIRMED:
            return ''
        same = [1 for name, space in self._names() if f'{space.rstrip("/")}/{name}' == self._name]
        self._seen = self._seen + 1 if len(same) > 1 else 0
        if self._seen >= _CONFIRMED and not self.problem:
            self.problem = (
                f'{len(same)} nodes are named {self._name}: their results mix, and either may '
                f'answer a request; end one of them, or start one with -r __node:=NAME (a node '
                f'that was killed stays on the graph for some seconds)'
            )
            return self.problem
        if not self._seen and self.problem:
            self.problem = ''
            return f'no other node is named {self._name} any more'
        return ''
