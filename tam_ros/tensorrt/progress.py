# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How far a build is, from TensorRT's own account of it, and stopping it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple


class _Phase(NamedTuple):
    parent: str | None
    steps: int
    done: int


class Phases:
    """Phases within phases, as the builder reports them, as one number that grows."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._reached = 0.0
        self.current = ''

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, within the present step of its parent."""
        self._phases[name] = _Phase(parent, max(steps, 1), 0)
        self.current = name

    def step(self, name: str, step: int) -> None:
        """A step, counted from 0, is done."""
        if name in self._phases:
            self._phases[name] = self._phases[name]._replace(done=step + 1)

    def finish(self, name: str) -> None:
        """A phase is over."""
        phase = self._phases.pop(name, None)
        if phase is not None and phase.parent is None:
            self._reached = 1.0
        elif phase is not None and phase.parent is not None:
            self.current = phase.parent

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1; never less than before."""
        roots = [name for name, phase in self._phases.items() if phase.parent is None]
        if roots:
            self._reached = max(self._reached, min(self._within(roots[0]), 1.0))
        return self._reached

    def _within(self, name: str) -> float:
        phase = self._phases[name]
        inner = [
            self._within(child) for child, other in self._phases.items() if other.parent == name
        ]
        return (phase.done + max(inner, default=0.0)) / phase.steps


def monitor(
    trt: ModuleType, report: Callable[[str, float], None], cancelled: Callable[[], bool]
) -> Any:
    """Return a progress monitor for a builder.

    Args:
        trt: TensorRT.
        report: called with the phase and the fraction; in threads of the builder.
        cancelled: asked after every step.
    """

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.start(phase_name, parent_phase, num_steps)
            report(phase_name, self.phases.fraction)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.phases.step(phase_name, step)
            report(phase_name, self.phases.fraction)
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self.phases.finish(phase_name)
            report(self.phases.current, self.phases.fraction)

    return Monitor()
