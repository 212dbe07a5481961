# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is done to valid files before a reader gets them, and what a reader may do with them.

`make test` tries the same cases each time, about a minute in all. By hand, others and more:

    TAM_FUZZ_SEED=7 TAM_FUZZ_CASES=100 python -m pytest test/fuzz -n0

tries a hundred times as many, from another seed.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import wraps
from typing import Any

import hypothesis
from hypothesis import HealthCheck, strategies

CASES = float(os.environ.get('TAM_FUZZ_CASES', '1'))
SEED = os.environ.get('TAM_FUZZ_SEED')
_SLOW = 30.0  # seconds; a reader that takes longer for a small file hangs
_LONGEST = 3000  # characters of a message

# Numbers at which readers stumble.
_ODD = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1]
_PLACE = strategies.integers(0, 2**16 - 1)  # as a fraction of the length
_SIZE = strategies.sampled_from([1, 2, 4, 8, 16, 60, 250, 1000, 4000])

OPERATIONS = strategies.lists(
    strategies.one_of(
        strategies.tuples(strategies.just('cut'), _PLACE),
        strategies.tuples(strategies.just('flip'), _PLACE, strategies.integers(0, 7)),
        strategies.tuples(strategies.just('set'), _PLACE, strategies.integers(0, 255)),
        strategies.tuples(
            strategies.just('number'),
            _PLACE,
            strategies.sampled_from(_ODD),
            strategies.sampled_from([1, 2, 4, 8]),
            strategies.booleans(),
        ),
        strategies.tuples(strategies.just('remove'), _PLACE, _SIZE),
        strategies.tuples(strategies.just('repeat'), _PLACE, _SIZE),
        strategies.tuples(strategies.just('splice'), _PLACE, _PLACE, _SIZE),
        strategies.tuples(strategies.just('insert'), _PLACE, strategies.binary(max_size=40)),
    ),
    min_size=1,
    max_size=4,
)

VALUES = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.sampled_from([0, -1, 1, 7, 2**31, 2**63, 2**64, 10**400, 1.5, -1e300]),
    strategies.sampled_from([float('nan'), float('inf')]),
    strategies.text(max_size=12),
    strategies.sampled_from(['../../victim', '/etc/passwd', '7', '\x1b[2J', '\0', 'x' * 5000]),
    strategies.lists(strategies.integers(-1, 3), max_size=3),
    strategies.dictionaries(strategies.text(max_size=3), strategies.integers(), max_size=2),
    strategies.sampled_from([[[[[[]]]]], [{}], {'a': [None]}]),
)
"""Values of every type that JSON and YAML have."""


def fuzzed(cases: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return settings for a test of `given` that tries so many cases in `make test`."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        settings = hypothesis.settings(
            max_examples=max(1, round(cases * CASES)),
            derandomize=SEED is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        test = settings(test)
        return test if SEED is None else hypothesis.seed(int(SEED))(test)

    return decorate


def mutated(data: bytes, operations: list[tuple[Any, ...]]) -> bytes:
    """Return a file after some operations."""
    result = bytearray(data)
    for kind, place, *rest in operations:
        at = place * (len(result) + 1) >> 16
        if kind == 'cut':
            del result[at:]
        elif kind == 'flip' and at < len(result):
            result[at] ^= 1 << rest[0]
        elif kind == 'set' and at < len(result):
            result[at] = rest[0]
        elif kind == 'number':
            number, size, is_big = rest
            order = 'big' if is_big else 'little'
            result[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, order)
        elif kind == 'remove':
            del result[at : at + rest[0]]
        elif kind == 'repeat':
            result[at:at] = result[at : at + rest[0]]
        elif kind == 'splice':
            source = rest[0] * (len(result) + 1) >> 16
            part = result[source : source + rest[1]]
            result[at : at + len(part)] = part
        elif kind == 'insert':
            result[at:at] = rest[0]
    return bytes(result)


def paths_of(tree: Any, begin: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every node of a tree of mappings and lists."""
    found = [begin]
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found += paths_of(value, (*begin, key))
    return found


def changed(tree: Any, path: tuple[Any, ...], value: Any, action: str) -> Any:
    """Return a copy of a tree in which a node was replaced, removed or added to."""
    copy = deepcopy(tree)
    if not path:
        return value
    place = copy
    for key in path[:-1]:
        place = place[key]
    if action == 'remove':
        del place[path[-1]]
    elif action == 'add' and isinstance(place, dict):
        place[f'{path[-1]}x'] = value
    elif action == 'text':
        place[path[-1]] = str(place[path[-1]])
    else:
        place[path[-1]] = value
    return copy


def trees(tree: Any) -> strategies.SearchStrategy[Any]:
    """Return a strategy for a tree in which one or two nodes have changed."""
    actions = strategies.sampled_from(['replace', 'replace', 'remove', 'add', 'text'])

    @strategies.composite
    def change(draw: Any) -> Any:
        result = tree
        for _ in range(draw(strategies.integers(1, 2))):
            path = draw(strategies.sampled_from(paths_of(result)))
            result = changed(result, path, draw(VALUES), draw(actions))
        return result

    return change()


@contextmanager
def only(*allowed: type[Exception], names: str = '') -> Iterator[None]:
    """Run a reader: it succeeds, or raises an error of ours as one printable line.

    Args:
        allowed: what it may raise.
        names: what the message must contain, such as the name of the file.
    """
    begin = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of libraries, about damaged files
            yield
    except allowed as error:
        text = str(error)
        assert text.isprintable() and 0 < len(text) <= _LONGEST, repr(text)
        assert names in text, text
    assert time.monotonic() - begin < _SLOW, 'it took too long'


def cached(function: Callable[[], Any]) -> Callable[[], Any]:
    """Make a valid file once."""
    results: list[Any] = []

    @wraps(function)
    def get() -> Any:
        if not results:
            results.append(function())
        return results[0]

    return get
