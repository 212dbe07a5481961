# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Compares the attributes of a dataclass that was read from a file with their declared types."""

from __future__ import annotations

import math
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


def check_types(values: Any) -> None:
    """Compare the attributes of a dataclass with their types; numbers must be finite.

    A whole number is accepted where a float is declared, as JSON does not distinguish them.

    Raises:
        ValueError: one is of another type. The message gives its name.
    """
    hints = get_type_hints(type(values))
    for one in fields(values):
        value, hint = getattr(values, one.name), hints[one.name]
        if get_origin(hint) is tuple:
            if not isinstance(value, tuple):
                raise ValueError(f'{one.name} is not a list')
            for item in value:
                _check(one.name, item, (get_args(hint)[0],))
        elif get_origin(hint) is dict:
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise ValueError(f'{one.name} is not a mapping of names')
        else:
            _check(one.name, value, get_args(hint) or (hint,))


def _check(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    allowed = {*kinds, int} if float in kinds else set(kinds)
    plain = type(value) if type(value) in (bool, int, float, str, NoneType) else None
    if plain not in allowed and (plain or not isinstance(value, tuple(allowed))):
        raise ValueError(f'{name} is {repr(value)[:60]}, which is of another type')
    if plain is float and not math.isfinite(value):
        raise ValueError(f'{name} is {value}, not a finite number')
