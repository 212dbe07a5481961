# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The command line of the node: help, ROS arguments, and what is wrong with them in one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from tam_ros.interfaces import NODE_NAME
from tam_ros.ros.parameters import PARAMETERS

_MAIN_PARAMETERS = (
    'model',
    'weights',
    'runtime',
    'image_transport',
    'max_objects',
    'autostart',
    'detection_classes',
)

_EXAMPLES = f"""\
examples:
  track what is clicked in the images of a camera:
    ros2 run tam_ros {NODE_NAME} --ros-args -r image:=/camera/image_raw
  with depth, for positions:
    ros2 run tam_ros {NODE_NAME} --ros-args -r image:=/camera/color/image_raw \\
      -r camera_info:=/camera/color/camera_info \\
      -r depth:=/camera/aligned_depth_to_color/image_raw
  another model, parameters of a file:
    ros2 run tam_ros {NODE_NAME} --ros-args -p model:=efficienttam_ti_512x512 --params-file my.yaml
  mark an object in the next image:
    ros2 service call /{NODE_NAME}/add_prompt tam_ros/srv/AddPrompt \\
      "{{prompt: {{points: [{{x: 320, y: 240}}]}}}}"
  with topics, record and respawn as arguments:
    ros2 launch tam_ros track.launch.py --show-args
"""

_NO_PARAMETER_FILE = re.compile(r"parse params file: '--params-file (.*)'\. Error: (.*), at /\S+$")
_NO_RULE = re.compile(r"parse (.*) rule: '(.*?)'\. Error")
_PLACE_IN_SOURCE = re.compile(r', at \S+:\d+')


class CommandLineError(ValueError):
    """The arguments cannot be used; the message is one line."""


def read_arguments(args: Sequence[str] | None = None) -> None:
    """Print the help and exit if it is asked for; refuse arguments that nobody reads.

    Args:
        args: with the name of the program; None: those of the process.

    Raises:
        SystemExit: with status 0 after the help.
        CommandLineError: there is an argument outside `--ros-args`, or one of ROS, or a parameter
            file, cannot be read.
    """
    parser = argparse.ArgumentParser(
        NODE_NAME,
        usage=f'{NODE_NAME} [--help] [--ros-args ...]',
        description='Tracks objects in an image topic, from clicks, boxes, masks or detections. '
        'It publishes label images (~/labels), objects (~/objects) and an overlay (~/overlay).',
        epilog=_main_parameters() + '\n' + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    try:
        others = remove_ros_args(args)[1:]
    except rclpy_implementation.RCLError as error:
        raise CommandLineError(_in_one_line(str(error))) from error
    _, unknown = parser.parse_known_args(others)
    if unknown:
        raise CommandLineError(
            f'unknown argument {unknown[0]}: topics (-r image:=/camera/image) and parameters '
            f'(-p model:=NAME) follow --ros-args; see --help'
        )


def init_ros(args: Sequence[str] | None = None) -> None:
    """Initialise rclpy without its signal handlers; see `tam_ros.ros.shutdown`.

    If no log file can be written (no HOME, a read-only folder), the log is only on the console and
    /rosout, which is said on stderr; rclpy refuses to start.

    Args:
        args: with the name of the program; None: those of the process.

    Raises:
        CommandLineError: an argument of ROS or a parameter file cannot be read.
    """
    arguments = list(sys.argv if args is None else args)
    if problem := _log_folder_problem():
        print(
            f'{NODE_NAME}: no log file is written: {problem}; ROS_LOG_DIR sets the folder',
            file=sys.stderr,
        )
        arguments += ['--ros-args', '--disable-external-lib-logs']
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except rclpy_implementation.RCLError as error:
        raise CommandLineError(_in_one_line(str(error))) from error


def origin_of(name: str, args: Sequence[str] | None = None) -> str:
    """Return which parameter file gives a parameter, as `FILE, line 7: `; empty: none.

    Args:
        name: name of the parameter.
        args: with the name of the program; None: those of the process.
    """
    arguments = list(sys.argv if args is None else args)
    key = re.compile(rf'\s*["\']?{re.escape(name)}["\']?\s*:')
    found = ''
    for option, path in zip(arguments, arguments[1:], strict=False):
        if option == '--params-file':
            try:
                lines = Path(path).read_text(encoding='utf-8', errors='replace').splitlines()
            except OSError:
                continue
            for number, line in enumerate(lines, 1):
                if key.match(line):
                    found = f'{path}, line {number}: '  # the last file wins
    return found


def _main_parameters() -> str:
    lines = ['main parameters (docs/topics.md and `ros2 param describe` have all):']
    for parameter in PARAMETERS:
        if parameter.name in _MAIN_PARAMETERS:
            default = str(parameter.default)
            default = default.lower() if isinstance(parameter.default, bool) else default
            about = parameter.description.split('. ')[0].rstrip('.')
            lines.append(f'  {parameter.name} ({default or "empty"}): {about}')
    return '\n'.join(lines) + '\n'


def _log_folder_problem() -> str | None:
    """Return why ROS cannot write log files, or None.

    The folder is chosen as rcl_logging_get_logging_directory (rcl_logging_interface) does.
    """
    environment = os.environ
    if environment.get('ROS_LOG_DIR'):
        folder = environment['ROS_LOG_DIR']
    elif environment.get('ROS_HOME'):
        folder = os.path.join(environment['ROS_HOME'], 'log')
    elif environment.get('HOME'):
        folder = '~/.ros/log'
    else:
        return 'HOME is not set'
    path = Path(os.path.expanduser(folder))
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f'.{NODE_NAME}-{os.getpid()}'
        probe.write_bytes(b'\n')  # a full disk refuses this, not the creation of a file
        probe.unlink()
    except OSError as error:
        return f'{path} cannot be written ({error.strerror})'
    return None


def _in_one_line(error: str) -> str:
    """Return what rcl says about the arguments, without places in its source."""
    error = ' '.join(error.split())
    if found := _NO_PARAMETER_FILE.search(error):
        path, reason = found[1], _PLACE_IN_SOURCE.sub('', found[2])
        if not os.path.exists(path):
            return f'the parameter file {path} does not exist'
        if os.path.isdir(path):
            return f'the parameter file {path} is a folder'
        return f'the parameter file {path} cannot be read: {reason}{_hint(reason)}'
    if found := _NO_RULE.search(error):
        return f'{found[2]} cannot be read as a {found[1]}: -p NAME:=VALUE, -r FROM:=TO'
    return _PLACE_IN_SOURCE.sub('', error).removeprefix('failed to initialize rcl: ')


def _hint(reason: str) -> str:
    if 'before ros__parameters' in reason:
        return ' (parameters belong below the keys `/**:` and `ros__parameters:`)'
    return ''
