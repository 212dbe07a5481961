# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Another node of the same name."""

from __future__ import annotations

import pytest

from tam_ros.ros.diagnostics.namesakes import FIRST_CHECKS, PERIOD, Namesakes

OWN, OTHER = ('track_node', '/cam'), ('track_node', '/')


class Nodes:
    """The nodes of a graph, and how often it was looked at."""

    def __init__(self, *nodes):
        self.nodes, self.looks = list(nodes), 0
        self.watch = Namesakes('/cam/track_node', self.look)

    def look(self):
        self.looks += 1
        return self.nodes

    def check(self, times):
        """Return what is said in so many seconds."""
        return [text for text in (self.watch.check() for _ in range(times)) if text]


def test_other_names_and_namespaces_are_no_problem():
    nodes = Nodes(OWN, OTHER, ('camera', '/cam'))
    assert nodes.check(100) == []
    assert not nodes.watch.problem


def test_a_namesake_is_said_once_and_that_it_is_gone():
    nodes = Nodes(OWN, OWN)
    (text,) = nodes.check(50)
    assert text == nodes.watch.problem
    assert text.startswith('2 nodes are named /cam/track_node')
    nodes.nodes.remove(OWN)
    assert nodes.check(PERIOD) == ['no other node is named /cam/track_node any more']
    assert not nodes.watch.problem


def test_a_node_that_is_just_ending_is_not_one():
    nodes = Nodes(OWN, OWN)
    nodes.check(1)
    nodes.nodes.remove(OWN)
    assert nodes.check(50) == []


def test_one_that_comes_later_is_found():
    nodes = Nodes(OWN)
    assert nodes.check(100) == []
    nodes.nodes.append(OWN)
    assert len(nodes.check(PERIOD + 1)) == 1


def test_the_graph_is_seldom_looked_at():
    nodes = Nodes(OWN)
    nodes.check(FIRST_CHECKS + 100)
    assert nodes.looks == pytest.approx(FIRST_CHECKS + 100 / PERIOD, abs=1)


def test_the_root_namespace():
    watch = Namesakes('/track_node', lambda: [OTHER, OTHER])
    assert any(watch.check() for _ in range(2))
