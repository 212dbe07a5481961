# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Declares the parameters of the table, answers changes of them, and documents them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from tam_ros.ros.parameters import PARAMETERS

_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
_TYPES = {str: 'string', bool: 'bool', int: 'integer', float: 'double'}


def declare(node: Node) -> None:
    """Declare every parameter with its description and range.

    Raises:
        ValueError: a value from the command line or a file cannot be used; says which and why.
        rclpy.exceptions.InvalidParameterTypeException: it has another type.
        rclpy.exceptions.InvalidParameterValueException: it is out of range.
    """
    for parameter in PARAMETERS:
        descriptor = ParameterDescriptor(description=parameter.description)
        if parameter.choices:
            descriptor.additional_constraints = f'one of {", ".join(parameter.choices)}'
        if parameter.limits is not None:
            low, high = parameter.limits
            if isinstance(parameter.default, int):
                descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high, step=0.0)
                ]
        value = node.declare_parameter(parameter.name, parameter.default, descriptor).value
        refusal = parameter.refusal(value)
        if refusal:
            raise ValueError(refusal)
    if conflict := _conflict(values(node)):
        raise ValueError(conflict)


def unknown(node: Node) -> list[str]:
    """Return a sentence about each parameter that a file or the command line gives in vain."""
    # rclpy has no public way to ask for what was given and not declared.
    given = getattr(node, '_parameter_overrides', {})
    sentences = []
    for name in sorted(given):
        if node.has_parameter(name) or name.startswith('qos_overrides.'):
            continue
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f'; did you mean {near[0]}?' if near else ''
        sentences.append(f'there is no parameter {name}: it is ignored{hint}')
    return sentences


def values(node: Node) -> dict[str, Any]:
    """Return the values of the moment by name, once they are declared."""
    return {name: node.get_parameter(name).value for name in _BY_NAME}


def check_changes(
    changes: Sequence[RosParameter], present: Mapping[str, Any], configured: bool
) -> SetParametersResult:
    """Answer a request to change parameters.

    Args:
        changes: the new values; names that are not ours are left to others.
        present: the values of the moment, of all parameters.
        configured: whether the node has taken its parameters, so that only live ones may change.
    """
    for change in changes:
        parameter = _BY_NAME.get(change.name)
        if parameter is None:
            continue
        reason = parameter.refusal(change.value)
        if not reason and configured and not parameter.live:
            reason = (
                f'{parameter.name} is read when the node configures: deactivate it and clean it '
                f'up first (ros2 lifecycle set), or start it with the new value'
            )
        if reason:
            return SetParametersResult(successful=False, reason=reason)
    conflict = _conflict({**present, **{change.name: change.value for change in changes}})
    return SetParametersResult(successful=conflict is None, reason=conflict or '')


def _conflict(together: Mapping[str, Any]) -> str | None:
    """Say which values do not go together, or return None."""
    removed, lost = together['remove_after'], together['lost_after']
    if 0 < removed < lost:
        return (
            f'remove_after is {removed:g} s, but an object must be lost before it is removed: '
            f'lost_after is {lost:g} s. 0 never removes'
        )
    near, far = together['depth_min'], together['depth_max']
    if near >= far:
        return f'depth_min is {near:g} m and depth_max {far:g} m: no depth lies between them'
    return None


def markdown_table() -> str:
    """Return the table of docs/topics.md."""
    lines = [
        '| parameter | type | default | live | what it does |',
        '| --- | --- | --- | --- | --- |',
    ]
    for parameter in PARAMETERS:
        text = str(parameter.default)
        default = f'`{text.lower() if isinstance(parameter.default, bool) else text}`'
        live = 'yes' if parameter.live else 'no'
        about = parameter.description
        if parameter.choices:
            about += f' One of {", ".join(f"`{choice}`" for choice in parameter.choices)}.'
        if parameter.limits is not None:
            about += f' {parameter.limits[0]:g} to {parameter.limits[1]:g}.'
        lines.append(
            f'| `{parameter.name}` | {_TYPES[type(parameter.default)]} '
            f'| {default if text else "empty"} | {live} | {about} |'
        )
    return '\n'.join(lines) + '\n'
