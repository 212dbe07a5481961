# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How a backend with engines of its own is to build and run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

BUILD = ('never', 'if_missing')
OBJECTS = 4
"""Objects an engine takes at a go where nothing else is said.

The memory an engine works in grows with it: without fused attention one object at 512 pixels needs
15 MB for its scores, at 1024 pixels 235 MB. More objects than that are run in several goes, which
costs little: one object alone has a thousand queries and more.
"""


class BuildProgress(NamedTuple):
    """How far the engines are.

    Attributes:
        graph: the one being built.
        index: of that graph, from 0.
        graphs: how many there are to build.
        phase: what happens, in the words of the builder.
        fraction: of this graph, 0 to 1; it never goes back.
    """

    graph: str
    index: int
    graphs: int
    phase: str
    fraction: float


@dataclass(frozen=True)
class EngineOptions:
    """What a backend with engines is asked for; others ignore it.

    Attributes:
        build: `never`, or `if_missing`: engines that the cache does not hold are built when a
            model is opened, which takes minutes.
        objects: taken at a go by engines that are built; None: those of the engine that is there,
            or `OBJECTS`.
        workspace_mb: most memory the builder may work in, MB; None: what the device has free.
        zero_copy: the device reads images and writes masks in the host's memory. Saves copies
            where both are one memory (Jetson); slower where they are not.
        cuda_graphs: record the kernels of each engine once and launch them together.
        progress: called while engines are built.
        cancelled: asked while engines are built; True stops that.
    """

    build: str = 'never'
    objects: int | None = None
    workspace_mb: int | None = None
    zero_copy: bool = False
    cuda_graphs: bool = False
    progress: Callable[[BuildProgress], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.build not in BUILD:
            raise ValueError(f'build is {self.build!r}; one of {", ".join(BUILD)}')
        if self.objects is not None and not 1 <= self.objects <= 64:
            raise ValueError(f'objects is {self.objects}; 1..64')
        if self.workspace_mb is not None and self.workspace_mb < 64:
            raise ValueError(f'workspace_mb is {self.workspace_mb}; 64 or more')
