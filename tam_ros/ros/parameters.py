"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from tam_ros.runtime import RUNTIMES
from tam_ros.tracking.options import RESIZE_FILTERS


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


def _not_blank(text: str) -> str | None:
    return None if text.strip() else 'must not be empty'


PARAMETERS = (
    Parameter(
        'model',
        'efficienttam_nano',
        'Model, a name of the catalogue (engines/models.yaml).',
        check=_not_blank,
    ),
    Parameter(
        'weights',
        '',
        'Checkpoint file or folder of exported graphs. Empty: what is bundled or downloaded.',
    ),
    Parameter(
        'runtime',
        'onnxruntime',
        'What runs the model.',
        choices=tuple(RUNTIMES),
    ),
    Parameter(
        'threads',
        0,
        'CPU threads of the runtime. 0: the library chooses.',
        limits=(0, 256),
    ),
    Parameter(
        'max_objects',
        16,
        'Objects that can be followed at once. Room for all of them is allocated beforehand.',
        limits=(1, 255),
    ),
    Parameter(
        'lost_after',
        2.0,
        'Seconds out of sight after which an object is called lost instead of occluded.',
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'resize',
        'pil',
        'How images are brought to the size of the model. pil is the filter of the published '
        'numbers, opencv is several times faster.',
        choices=RESIZE_FILTERS,
    ),
    Parameter(
        'refined_frames_condition',
        True,
        'Remember corrections of a followed object for good. Off, they fade after six images, as '
        'in the official predictor.',
    ),
    Parameter(
        'skip_occluded_memories',
        False,
        'Images on which an object is not seen leave no memory of it, so that what it looked like '
        'survives a long absence. Off, they are remembered as empty, as in the official '
        'predictor.',
    ),
    Parameter(
        'remove_after',
        0.0,
        'Seconds out of sight after which an object is removed. 0: never; else at least '
        'lost_after.',
        limits=(0.0, 86400.0),
    ),
    Parameter(
        'autostart',
        True,
        'Configure and activate at start. False: wait for a lifecycle manager.',
    ),
    Parameter(
        'image_transport',
        'raw',
        'Type of the `image` topic: raw is sensor_msgs/Image, compressed is CompressedImage.',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'qos_reliability',
        'best_effort',
        'Quality of service asked of the `image` topic. reliable only meets reliable publishers.',
        choices=('best_effort', 'reliable'),
    ),
    Parameter(
        'publish_masks',
        False,
        'Fill TrackedObject.mask_png, which shows what overlaps hide in the label image.',
        live=True,
    ),
    Parameter(
        'recall_seconds',
        2.0,
        'Seconds for which tracked images are kept, at most 30 of them, so that a prompt is '
        'applied to the very image it was made on. Higher serves slower operators and takes '
        'memory: at 384 pixels 1.0 MB an image and 0.15 MB for each object, at 512 2.9 and 0.26, '
        'at 1024 11.5 and 1.05. 0: prompts are applied to the next image.',
        limits=(0.0, 60.0),
    ),
    Parameter(
        'catch_up',
        4,
        'Images replayed at most, between two new ones, to bring a late prompt to the present. '
        'Higher shows its object sooner, lower keeps the rate steadier.',
        limits=(2, 60),
    ),
    Parameter(
        'time_jump',
        1.0,
        'Stamps that go back by more than this many seconds start a new recording (a bag that '
        'loops): objects stay and the clock starts again. Less is a late image, which is dropped. '
        'A prompt further ahead of the images than this is refused.',
        live=True,
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'image_timeout',
        2.0,
        'Seconds without an image, or of work on a single one, after which /diagnostics warns; '
        'after five times as long it reports an error.',
        live=True,
        limits=(0.1, 3600.0),
    ),
    Parameter(
        'max_age_warn',
        1.0,
        'Seconds from the stamp of an image to its results, 95th percentile of ten seconds, above '
        'which /diagnostics warns; above five times as many it reports an error. 0: never.',
        live=True,
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'min_rate_warn',
        1.0,
        'Tracked images a second below which /diagnostics warns; below a fifth of it, it reports '
        'an error. 0: never.',
        live=True,
        limits=(0.0, 1000.0),
    ),
    Parameter(
        'max_dropped_warn',
        0.9,
        'Share of the images that a newer one may replace before they are tracked; above it '
        '/diagnostics warns. A tracker at 10 Hz behind a camera of 30 Hz drops 0.67. 0: never.',
        live=True,
        limits=(0.0, 1.0),
    ),
)

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


def check_changes(changes: list[RosParameter], configured: bool) -> SetParametersResult:
    """Answer a request to change parameters.

    Args:
        changes: the new values; names that are not ours are left to others.
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
    return SetParametersResult(successful=True)


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
