# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam engines`: the TensorRT engines that were built on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tam_ros.commands import UsageError

if TYPE_CHECKING:
    from tam_ros.tensorrt.engine_cache import CachedEngine, EngineCache


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('engines', help='list, verify or delete built TensorRT engines')
    parser.add_argument('action', nargs='?', default='list', choices=('list', 'verify', 'delete'))
    parser.add_argument('models', nargs='*', metavar='MODEL', help='only engines of these models')
    parser.add_argument('--all', action='store_true', help='delete the engines of every model')
    parser.add_argument(
        '--broken', action='store_true', help='delete only engines that fail verification'
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List, verify or delete engines.

    Raises:
        UsageError: the engines to delete are not named, or an engine fails verification.
    """
    from tam_ros.tensorrt.engine_cache import EngineCache

    cache = EngineCache()
    entries = [
        entry
        for entry in cache.entries()
        if not options.models or entry.path.parent.name in options.models
    ]
    if not entries:
        print(f'no engines in {cache.root}; build some with `tam build MODEL`')
        return
    if options.action == 'delete':
        _delete(cache, entries, options)
        return
    invalid = 0
    for entry in entries:
        problem = cache.verify(entry) if options.action == 'verify' else ''
        invalid += bool(problem)
        print(_line(entry, options.action, problem))
    if invalid:
        raise UsageError(
            f'{invalid} of {len(entries)} engines fail verification and will not be loaded; '
            '`tam engines delete --broken` removes them'
        )


def _delete(cache: EngineCache, entries: list[CachedEngine], options: argparse.Namespace) -> None:
    if not (options.models or options.all or options.broken):
        raise UsageError('give the models whose engines to delete, --all or --broken')
    chosen = [entry for entry in entries if not options.broken or cache.verify(entry)]
    for entry in chosen:
        cache.delete(entry)
    size = sum(entry.record.nbytes for entry in chosen if entry.record)
    print(f'{len(chosen)} engines deleted, {size / 1e6:.0f} MB')


def _line(entry: CachedEngine, action: str, problem: str) -> str:
    name = f'{entry.path.parent.name:24} {entry.path.stem:44}'
    record = entry.record
    if record is None:
        return f'{name} {problem or "has no record"}'
    where = f'TensorRT {record.identity["tensorrt"]}, {record.identity["gpu"]}'
    state = {'verify': problem or 'verified'}.get(action, f'built {record.built_at}')
    size = f'{record.nbytes / 1e6:6.1f} MB  {record.objects} objects'
    note = f'; {record.note}' if record.note else ''
    return f'{name} {size}  {where}  {state}{note}'
