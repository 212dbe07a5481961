# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a parameter of the node is, and checks of the values that name something."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tam_ros import catalogue
from tam_ros.detection import detector_names
from tam_ros.model_files import SEGMENTER

TYPES = {str: 'string', bool: 'bool', int: 'integer', float: 'double'}
"""Names that ROS has for the types of parameters."""


@dataclass(frozen=True)
class Parameter:
    """The definition of one parameter.

    Attributes:
        name: as in the YAML file.
        default: its type is the parameter's type.
        description: what it does, with its unit, and what a higher value does.
        live: whether a change takes effect at once; otherwise only while the node is not
            configured.
        read_only: whether it is only set when the node starts.
        choices: allowed strings; empty: any.
        names: returns the allowed strings where they are not constants; `check` refuses others.
        limits: allowed range of a number, both ends included.
        check: returns what is wrong with a value, or None.
    """

    name: str
    default: str | bool | int | float
    description: str
    live: bool = False
    read_only: bool = False
    choices: tuple[str, ...] = ()
    names: Callable[[], Sequence[str]] | None = None
    limits: tuple[int, int] | tuple[float, float] | None = None
    check: Callable[[Any], str | None] | None = None

    def reason_to_refuse(self, value: Any) -> str | None:
        """Return why a value cannot be used, or None."""
        if type(value) is not type(self.default):
            expected = TYPES[type(self.default)]
            hint = f": put it in quotes, '{value}'" if expected == 'string' else ''
            return f'{self.name} is {value!r}, but must be of type {expected}{hint}'
        if self.choices and value not in self.choices:
            return f'{self.name} is {value!r}, but must be one of {", ".join(self.choices)}'
        if self.limits is not None and not isinstance(value, str):
            low, high = self.limits
            if math.isnan(value) or not low <= value <= high:
                return f'{self.name} is {value}, but must be between {low} and {high}'
        wrong = self.check(value) if self.check is not None else None
        return f'{self.name}: {wrong}' if wrong else None

    def allowed_texts(self) -> Sequence[str]:
        """Return the allowed strings; empty: any, or it is not a string."""
        try:
            return self.names() if self.names is not None else self.choices
        except (OSError, ValueError):
            return ()  # the check of the value says what is wrong


def parameter(default: str | bool | int | float, description: str, **others: Any) -> Any:
    """Return a field of `Parameters`; the arguments are the attributes of `Parameter`."""
    return field(default=default, metadata={'description': description, **others})


def model_names() -> Sequence[str]:
    """Return the names of the trackers in the catalogue."""
    return [model.name for model in catalogue.models().values() if model.kind == 'tracker']


def not_a_model(name: str) -> str | None:
    """Return what is wrong with the name of a model, or None."""
    if not name.strip():
        return 'must not be empty'
    try:
        catalogue.model(name)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def not_a_detector(name: str) -> str | None:
    """Return what is wrong with the name of a detector, which may be empty, or None."""
    if not name or name in detector_names():
        return None
    return f'there is no detector {name!r}; there are {", ".join(detector_names())}'


def segmenter_names() -> Sequence[str]:
    """Return the names of the segmenters in the catalogue, and the empty one for none."""
    names = [model.name for model in catalogue.models().values() if model.kind == SEGMENTER]
    return ['', *names]


def not_a_segmenter(name: str) -> str | None:
    """Return what is wrong with the name of a segmenter, which may be empty, or None."""
    if not name:
        return None
    wrong = not_a_model(name)
    if wrong is None and (kind := catalogue.model(name).kind) != SEGMENTER:
        return f'{name} is a {kind}: choose {", ".join(segmenter_names()[1:])}'
    return wrong


def not_a_folder(path: str) -> str | None:
    """Return what is wrong with the path of a folder, which may be empty, or None."""
    if path and not (os.path.isabs(path) and os.path.isdir(path)):
        return f'{path!r} is not the absolute path of a folder'
    return None


def needs_tf2_msgs(value: bool) -> str | None:
    """Return why TF cannot be used, or None."""
    if value and importlib.util.find_spec('tf2_msgs') is None:
        return 'needs tf2_msgs, which is not installed here (ros-$ROS_DISTRO-tf2-msgs)'
    return None
