# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What there is to say of one parameter of the node."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as in the YAML file.
        default: its type is the parameter's type.
        description: what it does, with its unit; says what raising it does, where that helps.
        live: whether a change takes effect at once; otherwise the next time the node configures.
        choices: the accepted texts; empty: any.
        limits: the accepted range of a number, both ends included.
        check: says what is wrong with a value, or returns None.
    """

    name: str
    default: str | bool | int | float
    description: str
    live: bool = False
    choices: tuple[str, ...] = ()
    limits: tuple[int, int] | tuple[float, float] | None = None
    check: Callable[[Any], str | None] | None = None

    def refusal(self, value: Any) -> str | None:
        """Say why a value cannot be used, or return None."""
        if type(value) is not type(self.default):
            return f'{self.name} must be a {type(self.default).__name__}, not {value!r}'
        if self.choices and value not in self.choices:
            return f'{self.name} is {value!r}, but must be one of {", ".join(self.choices)}'
        if self.limits is not None:
            low, high = self.limits
            if math.isnan(value) or not low <= value <= high:
                return f'{self.name} is {value}, but must lie between {low} and {high}'
        wrong = self.check(value) if self.check is not None else None
        return wrong and f'{self.name}: {wrong}'
