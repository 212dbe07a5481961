# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a build that failed tells its user.

TensorRT rarely says "out of memory". It skips every tactic that does not get its memory and then
finds no implementation for a node, and the user looks for a fault in the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tam_ros.runtime.base import EngineError

_MEMORY = re.compile(
    r'out of memory|outofmemory|bad_alloc|cannot allocate memory|could not find any implementation'
    r'|insufficient (workspace|memory)|requested amount of (gpu )?memory|cuda ?malloc'
    r'|memory allocation|cudaErrorMemoryAllocation|cuMemAlloc|\boom\b|nvmapmem',
    re.IGNORECASE,
)
ADVICE = (
    'What helps, in this order: close other programs, a desktop and a browser first of all (`sudo '
    'systemctl isolate multi-user.target`); add swap (docs/jetson.md); give the builder less to '
    'work in (`tam build --workspace 512`); build for fewer objects at a go (--max-objects 1); '
    'take a smaller model.'
)


class OutOfMemoryError(EngineError):
    """The builder needed more memory than there is."""


class BuildCancelledError(EngineError):
    """Somebody stopped the build; what was finished before is kept."""


def explain(graph: str, said: Sequence[str], free_mb: float | None = None) -> EngineError:
    """Return the error of a build that gave nothing.

    Args:
        graph: that was built.
        said: the errors of the builder, oldest first.
        free_mb: memory that was free when it began.
    """
    telling = [text for text in said if _MEMORY.search(text)]
    if telling:
        return out_of_memory(graph, telling[0], free_mb)
    reason = said[0] if said else 'TensorRT gives no reason'
    return EngineError(f'TensorRT cannot build {graph}: {reason}')


def out_of_memory(graph: str, evidence: str, free_mb: float | None = None) -> OutOfMemoryError:
    """Return the error of a build that had too little memory, with what to change."""
    had = '' if free_mb is None else f' ({free_mb:.0f} MB were free)'
    return OutOfMemoryError(
        f'building {graph} ran out of memory{had}: {_short(evidence)}. {ADVICE}'
    )


def _short(text: str, limit: int = 300) -> str:
    line = ' '.join(text.split()).rstrip('.')
    return line if len(line) <= limit else line[:limit] + '…'
