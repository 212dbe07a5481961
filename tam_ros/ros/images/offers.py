# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What to subscribe to among the publishers on the graph, and in words what is wrong with them.

Functions of topics, types and publishers only, without ROS, so that every situation can be tested.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tam_ros.ros.images.transports import COMPRESSED_DEPTH, KNOWN, Transport, carries, transport_of

_NOT_OF_A_CAMERA = ('/labels', '/labels/compressed', '/overlay', '/mask_prompt')


class Publisher(NamedTuple):
    """A publisher on the graph.

    Attributes:
        node: fully qualified name of its node.
        type: type of its messages.
        reliable: whether it offers reliable delivery.
    """

    node: str
    type: str
    reliable: bool


Graph = Mapping[str, Sequence[Publisher]]
"""The publishers of each topic that has any, without those of the own node."""


@dataclass(frozen=True)
class Wanted:
    """The images that a subscription is for.

    Attributes:
        argument: name of the topic before it is remapped, such as `image`.
        topic: its resolved name, with or without the suffix of the transport.
        transport: the transport that the parameters choose.
        readable: every transport that can be chosen, by name.
        parameter: the parameter that chooses it; empty: there is no choice.
        reliability: the parameter `qos_reliability`.
        optional: whether it is normal that nobody publishes them.
    """

    argument: str
    topic: str
    transport: Transport
    readable: Mapping[str, Transport]
    parameter: str
    reliability: str
    optional: bool = False


class Choice(NamedTuple):
    """What to subscribe to: the topic, and whether the subscription is reliable."""

    topic: str
    reliable: bool


def names(wanted: Wanted) -> list[str]:
    """Return the topics that may carry the images, the usual one first.

    `image` with the transport `compressed` is `image/compressed`, as for the users of
    image_transport; a driver may also publish compressed images under the name itself.
    """
    suffix = wanted.transport.suffix
    if not suffix or wanted.topic.endswith(suffix):
        return [wanted.topic]
    return [wanted.topic + suffix, wanted.topic]


def choose(wanted: Wanted, graph: Graph) -> Choice:
    """Return what to subscribe to.

    With `qos_reliability: auto`, the subscription is reliable if every publisher is: Fast DDS then
    sends the lost parts of large images again. A reliable subscription would receive nothing from
    a best-effort publisher. The `BEST_AVAILABLE` policy of rmw decides the same, but only once,
    when the subscription is created.
    """
    candidates = names(wanted)
    topic = next((name for name in candidates if _fitting(wanted, graph, name)), candidates[0])
    if wanted.reliability != 'auto':
        return Choice(topic, wanted.reliability == 'reliable')
    publishers = _fitting(wanted, graph, topic)
    return Choice(topic, bool(publishers) and all(one.reliable for one in publishers))


def heard(wanted: Wanted, choice: Choice, graph: Graph) -> list[Publisher]:
    """Return the publishers that a subscription receives from."""
    fitting = _fitting(wanted, graph, choice.topic)
    return [one for one in fitting if one.reliable or not choice.reliable]


def several(wanted: Wanted, choice: Choice, graph: Graph) -> str:
    """Return what is wrong if the images of several publishers are mixed, or an empty string."""
    publishers = heard(wanted, choice, graph)
    if len(publishers) < 2:
        return ''
    again = len({one.node for one in publishers}) < len(publishers)
    return (
        f'{len(publishers)} publishers on {choice.topic} ({_nodes(publishers)}), whose images are '
        f'mixed: only one may publish there'
        + ('; a process that was killed is listed for a while' if again else '')
    )


def explain(wanted: Wanted, choice: Choice, graph: Graph, remedy: str = '') -> str:
    """Return in one line why no image arrives, and what to do, as far as the graph tells.

    Args:
        wanted: the images.
        choice: what is subscribed to.
        graph: the publishers of all topics.
        remedy: what helps against the loss of large images, all of which may be lost.

    Returns:
        Empty for optional images that nobody publishes under this name.
    """
    if publishers := heard(wanted, choice, graph):
        lost = f'; if images are sent, they are lost in transport: {remedy}' if remedy else ''
        return f'{_publish(publishers)} on {choice.topic}, but nothing arrives{lost}'
    if publishers := _fitting(wanted, graph, choice.topic):
        return (
            f'{_publish(publishers)} {choice.topic} best effort, which is not received with '
            f'qos_reliability: reliable: set qos_reliability: auto'
        )
    base = _base(wanted)
    variants = [base + kind.suffix for kind in (*wanted.readable.values(), *KNOWN)]
    for name in dict.fromkeys((*names(wanted), base, *variants)):
        if name in graph:
            absent = '' if name == choice.topic else f'nobody publishes {choice.topic}; '
            return absent + _carries(wanted, name, graph)
    if wanted.optional:
        return ''
    return f'nobody publishes {choice.topic}; {_elsewhere(wanted, graph)}'


def _carries(wanted: Wanted, name: str, graph: Graph) -> str:
    """Return what a topic carries that the subscription does not receive, and what to do."""
    types = sorted({one.type for one in graph[name]})
    kinds = [kind for kind in (transport_of(name, one) for one in types) if kind is not None]
    for kind in kinds:
        if kind in wanted.readable.values():
            return f'{name} carries {kind.type}: {_remedy(wanted, name, kind)}'
    if kinds:
        kind = kinds[0]
        return f'{name} carries {kind.type} ({kind.content}): {_use_another(wanted, kind)}'
    others = {item: publishers for item, publishers in graph.items() if item != name}
    return f'{name} carries {", ".join(types)}; {_elsewhere(wanted, others)}'


def _elsewhere(wanted: Wanted, graph: Graph) -> str:
    """Return where images are that the node reads, and what to do."""
    offered = [
        (name, kind)
        for name, publishers in graph.items()
        for kind in dict.fromkeys(transport_of(name, one.type) for one in publishers)
        if kind is not None and (wanted.argument != 'depth' or 'depth' in name.lower())
    ]
    what = 'depth images' if wanted.argument == 'depth' else 'images'
    readable = [item for item in offered if item[1] in wanted.readable.values()]
    if readable:
        ordered = _closest_first(wanted, readable)
        name, kind = ordered[0]
        topics = _list(name for name, _ in ordered)
        if _is_unlikely(wanted, name):
            return f'no topic seems to carry the images of a camera, only {topics}'
        return f'{what} are on {topics}: {_remedy(wanted, name, kind)}'
    if offered:
        name, kind = _closest_first(wanted, offered)[0]
        return f'{name} carries {kind.type} ({kind.content}): {_use_another(wanted, kind)}'
    return (
        f'no topic carries {what}: is the camera running, with the ROS_DOMAIN_ID and the '
        f'RMW_IMPLEMENTATION of this node?'
    )


def _remedy(wanted: Wanted, name: str, kind: Transport) -> str:
    """Return the arguments with which the node receives a topic that it can read."""
    changes = []
    if kind != wanted.transport:
        changes.append(f'set {wanted.parameter}: {kind.name}')
    if name not in names(replace(wanted, transport=kind)):
        changes.append(f'start the node with {wanted.argument}:={name}')
    return ' and '.join(changes)


def _use_another(wanted: Wanted, kind: Transport) -> str:
    """Return what to do about a transport that the node does not read."""
    if kind == COMPRESSED_DEPTH and wanted.argument != 'depth':
        return 'use the topic of the colour images'
    return (
        f'the node does not read this: use the raw topic, or make one with republish of '
        f'image_transport, in_transport {kind.name}'
    )


def _fitting(wanted: Wanted, graph: Graph, topic: str) -> list[Publisher]:
    """Return the publishers of a topic that carry the wanted transport."""
    return [one for one in graph.get(topic, ()) if carries(topic, one.type, wanted.transport)]


def _base(wanted: Wanted) -> str:
    """Return the wanted topic without the suffix of any transport."""
    for kind in wanted.readable.values():
        if kind.suffix and wanted.topic.endswith(kind.suffix):
            return wanted.topic[: -len(kind.suffix)]
    return wanted.topic


def _closest_first(
    wanted: Wanted, offered: Iterable[tuple[str, Transport]]
) -> list[tuple[str, Transport]]:
    """Return topics ordered by their similarity to the wanted one, the likely ones first."""

    def order(item: tuple[str, Transport]) -> tuple[bool, bool, float, str]:
        name, kind = item
        similar = difflib.SequenceMatcher(None, name, wanted.topic).ratio()
        return _is_unlikely(wanted, name), kind != wanted.transport, -similar, name

    return sorted(offered, key=order)


def _is_unlikely(wanted: Wanted, name: str) -> bool:
    """Return whether a topic has images of another kind, by its name: depth, or results."""
    if name.endswith(_NOT_OF_A_CAMERA):
        return True
    return wanted.argument != 'depth' and 'depth' in name.lower()


def _list(topics: Iterable[str], shown: int = 3) -> str:
    found = list(dict.fromkeys(topics))
    more = f' and {len(found) - shown} more topics' if len(found) > shown else ''
    return ', '.join(found[:shown]) + more


def _nodes(publishers: Iterable[Publisher]) -> str:
    counts = Counter(one.node for one in publishers)
    return ', '.join(
        f'{name} {count} times' if count > 1 else name for name, count in counts.items()
    )


def _publish(publishers: Sequence[Publisher]) -> str:
    return f'{_nodes(publishers)} publish' + ('es' if len(publishers) == 1 else '')
