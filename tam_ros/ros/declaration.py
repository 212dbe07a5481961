# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Declares the parameters, checks changes of them, and writes their documentation."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from tam_ros.ros.distribution import before_parameters_are_set
from tam_ros.ros.parameter import TYPES, Parameter
from tam_ros.ros.parameters import PARAMETERS, Parameters

_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


class InvalidParameterError(ValueError):
    """A value from the command line or a file that cannot be used; the message says why.

    Attributes:
        name: name of the parameter; empty: several contradict each other.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class NodeParameters:
    """The parameters of a node, whose values may be read from any thread.

    Attributes:
        current: the current values. An accepted change replaces this object.
    """

    def __init__(self, node: Node) -> None:
        """Declare every parameter with its description and range.

        Raises:
            InvalidParameterError: a value from the command line or a file cannot be used.
        """
        self._node = node
        self.current = declare(node)
        self._locked = False
        before_parameters_are_set(node, _with_doubles)
        node.add_on_set_parameters_callback(self._on_change)

    def lock(self) -> None:
        """Refuse changes of parameters that are not live: the node has read them."""
        self._locked = True

    def unlock(self) -> None:
        """Accept changes of all parameters."""
        self._locked = False

    def _on_change(self, changes: Sequence[RosParameter]) -> SetParametersResult:
        try:
            self.current = apply_changes(self.current, changes, self._locked)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for change in changes:
            self._node.get_logger().debug(f'{change.name} is set to {change.value!r}')
        return SetParametersResult(successful=True)


def declare(node: Node) -> Parameters:
    """Declare every parameter and return their values; see `NodeParameters`."""
    # rclpy has no public access to values that were given but not declared. It would refuse a
    # whole number for a double, and with the constants of its own source.
    given: dict[str, RosParameter] = getattr(node, '_parameter_overrides', {})
    values = {}
    for parameter in PARAMETERS:
        if parameter.name in given:
            (given[parameter.name],) = _with_doubles([given[parameter.name]])
            value = given[parameter.name].value
            if reason := parameter.reason_to_refuse(value):
                raise InvalidParameterError(parameter.name, reason)
        try:
            declared = node.declare_parameter(
                parameter.name, parameter.default, _descriptor(parameter)
            )
        except ParameterException as error:
            raise InvalidParameterError(parameter.name, str(error)) from error
        values[parameter.name] = declared.value
    parameters = Parameters(**values)
    if conflict := parameters.conflict():
        raise InvalidParameterError('', conflict)
    return parameters


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows."""
    descriptor = ParameterDescriptor(description=parameter.description)
    allowed = parameter.allowed_texts()
    constraints = [f'one of {", ".join(allowed)}'] if allowed else []
    descriptor.read_only = parameter.read_only
    if parameter.read_only:
        constraints.append('set only when the node starts')
    elif not parameter.live:
        constraints.append('changes only while the node is unconfigured')
    descriptor.additional_constraints = '; '.join(constraints)
    if parameter.limits is not None:
        low, high = parameter.limits
        if isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=low, to_value=high, step=0.0)
            ]
    return descriptor


def _with_doubles(changes: Sequence[RosParameter]) -> list[RosParameter]:
    """Return the changes with a double where a whole number is given for one (`lost_after: 2`)."""
    return [
        RosParameter(change.name, value=float(change.value))
        if type(change.value) is int and _is_double(change.name)
        else change
        for change in changes
    ]


def _is_double(name: str) -> bool:
    return name in _BY_NAME and isinstance(_BY_NAME[name].default, float)


def apply_changes(
    current: Parameters, changes: Sequence[RosParameter], configured: bool
) -> Parameters:
    """Return the values after a change.

    Args:
        current: the values before the change.
        changes: new values. Parameters of other parts of the node are ignored.
        configured: whether only live parameters may change.

    Raises:
        ValueError: a value cannot be used or must not change now; the message gives the reason.
    """
    ours = [change for change in changes if change.name in _BY_NAME]
    for change in ours:
        parameter = _BY_NAME[change.name]
        if reason := parameter.reason_to_refuse(change.value):
            raise ValueError(reason)
        if configured and not parameter.live:
            raise ValueError(
                f'{parameter.name} is read when the node configures: deactivate it and clean it '
                f'up first (ros2 lifecycle set), or start it with the new value'
            )
    parameters = replace(current, **{change.name: change.value for change in ours})
    if conflict := parameters.conflict():
        raise ValueError(conflict)
    return parameters


def unknown_parameter_warnings(node: Node) -> list[str]:
    """Return a warning for each given parameter that the node does not have."""
    # rclpy has no public access to parameters that were given but not declared.
    given = getattr(node, '_parameter_overrides', {})
    warnings = []
    for name in sorted(given):
        if node.has_parameter(name) or name.startswith('qos_overrides.'):
            continue
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f'; did you mean {near[0]}?' if near else ''
        warnings.append(f'there is no parameter {name}, it is ignored{hint}')
    return warnings


def markdown_table() -> str:
    """Return the parameter table of docs/topics.md."""
    lines = [
        '| parameter | type | default | live | description |',
        '| --- | --- | --- | --- | --- |',
    ]
    for parameter in PARAMETERS:
        text = str(parameter.default)
        default = f'`{text.lower() if isinstance(parameter.default, bool) else text}`'
        live = 'never' if parameter.read_only else 'yes' if parameter.live else 'no'
        about = parameter.description
        if parameter.choices:
            about += f' One of {", ".join(f"`{choice}`" for choice in parameter.choices)}.'
        if parameter.limits is not None:
            about += f' {parameter.limits[0]:g} to {parameter.limits[1]:g}.'
        lines.append(
            f'| `{parameter.name}` | {TYPES[type(parameter.default)]} '
            f'| {default if text else "empty"} | {live} | {about} |'
        )
    return '\n'.join(lines) + '\n'
