# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Options of a backend that builds engines for the device it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BUILD = ('never', 'if_missing')
DEFAULT_MAX_OBJECTS = 4
"""Largest batch of an engine where the options name none.

The working memory of an engine grows with it: without fused attention one object at 512 pixels
needs 15 MB for its attention scores, at 1024 pixels 235 MB. More objects are run in several
batches, which costs little: one object alone has a thousand queries and more.
"""


@dataclass(frozen=True)
class BuildProgress:
    """Progress of a build.

    Attributes:
        graph: the one being built.
        index: index of that graph, from 0.
        graphs: number of graphs to build.
        phase: what the builder is doing, in its own words.
        fraction: fraction of this graph, 0 to 1; it never decreases.
    """

    graph: str
    index: int
    graphs: int
    phase: str
    fraction: float


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built and run; backends without engines ignore it.

    Attributes:
        build: `never`, or `if_missing`: engines that are not in the cache are built when a
            model is opened, which takes minutes.
        max_objects: largest batch of engines that are built, 1 to 64. None: that of the engine in
            the cache, or `DEFAULT_MAX_OBJECTS` where there is none.
        workspace_mb: upper limit of the builder's working memory, MB, at least 64. None: the free
            memory of the device.
        zero_copy: the device reads images from and writes masks to the host's memory. Saves copies
            where host and device share their memory (Jetson); slower where they do not.
        cuda_graphs: record the kernels of each engine once and launch them together.
        progress: called while engines are built.
        cancelled: polled while engines are built; True stops the build.

    Raises:
        ValueError: a value is not one of those, or out of its range.
    """

    build: str = 'never'
    max_objects: int | None = None
    workspace_mb: int | None = None
    zero_copy: bool = False
    cuda_graphs: bool = False
    progress: Callable[[BuildProgress], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.build not in BUILD:
            raise ValueError(f'build is {self.build!r}; one of {", ".join(BUILD)}')
        if self.max_objects is not None and not 1 <= self.max_objects <= 64:
            raise ValueError(f'max_objects is {self.max_objects}; it must be in 1..64')
        if self.workspace_mb is not None and self.workspace_mb < 64:
            raise ValueError(f'workspace_mb is {self.workspace_mb}; it must be at least 64')
