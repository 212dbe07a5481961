# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the launch files have in common: their arguments, and how the text of one is read.

Can be imported and tested where `launch` is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import dirname, join
from typing import Any, NamedTuple

import yaml
from ament_index_python import PackageNotFoundError, get_package_share_directory

from tam_ros.ros.distribution import PROFILE_VARIABLE
from tam_ros.ros.images.transports import KNOWN
from tam_ros.ros.parameter import Parameter
from tam_ros.ros.parameters import PARAMETERS


class LaunchError(ValueError):
    """An argument cannot be used; the message is one line."""


class Argument(NamedTuple):
    """An argument of a launch file.

    Attributes:
        name: what is typed before `:=`.
        default: its value if it is not given.
        description: shown by `--show-args`.
        choices: the allowed values, among them the default; None: any.
    """

    name: str
    default: str
    description: str
    choices: list[str] | None = None


def node_arguments(share: Path) -> list[Argument]:
    """Return the arguments of track.launch.py that are not parameters of the node.

    Args:
        share: folder of the package that contains `config`.
    """
    rows = {
        'image': ('image', 'Topic of the camera images.'),
        'camera_info': (
            '',
            'Topic of the calibration. Empty: camera_info in the namespace of the images.',
        ),
        'depth': ('depth', 'Topic of depth images registered to the images, for positions.'),
        'click': (
            '',
            'Topic of clicks in pixels. Empty: the topic of rqt_image_view for the images.',
        ),
        'clicked_point': ('/clicked_point', 'Topic of clicked points, from RViz.'),
        'detections': (
            '',
            'Topic of boxes from a detector. Empty: ~/detections of the node.',
        ),
        'namespace': ('', 'Namespace of the node; one for each camera.'),
        'name': ('track_node', 'Name of the node.'),
        'config': (str(share / 'config' / 'track.yaml'), 'Parameter file.'),
        'use_sim_time': (
            '',
            'true: use the time of /clock, for a bag that is played with --clock. Not given: as '
            'in the parameter file, or false.',
        ),
        'log_level': ('info', 'debug, info, warn, error or fatal.'),
        'respawn': ('false', 'true: restart the node whenever it ends.'),
        'fastdds_profile': (
            os.environ.get(PROFILE_VARIABLE) or str(share / 'config' / 'fastdds_images.xml'),
            'Profile with which Fast DDS does not lose large images; that of the environment, if '
            'there is one. none: its default settings.',
        ),
        'record': (
            'false',
            'true: record images, depth, prompts, masks and objects with ros2 bag.',
        ),
        'record_to': (
            '',
            'Folder of the recording; the namespace is a subfolder. Nothing is overwritten: if '
            'the folder exists, a new one is named after the time. Empty: tam_ros_ and the time.',
        ),
        'page': ('false', 'true: serve a page for browsers, see docs/page.md.'),
        'page_host': ('127.0.0.1', 'Address of the page. 0.0.0.0: other devices can open it.'),
        'page_port': ('8080', 'Port of the page.'),
        'page_config': (
            '',
            'Parameter file of page_node, which overrides these two. Empty: none.',
        ),
    }
    return [Argument(name, default, about) for name, (default, about) in rows.items()]


def parameter_arguments() -> list[Argument]:
    """Return the parameters of the node as arguments, without defaults.

    A default would override the parameter file.
    """
    return [_parameter_argument(parameter) for parameter in PARAMETERS]


def _parameter_argument(parameter: Parameter) -> Argument:
    about = parameter.description
    if parameter.limits is not None:
        about += f' {parameter.limits[0]:g} to {parameter.limits[1]:g}.'
    value = parameter.default
    text = str(value).lower() if isinstance(value, bool) else str(value)
    about += f' Not given: as in the parameter file ({text or repr(text)} in config/track.yaml).'
    allowed = parameter.allowed_texts()
    return Argument(parameter.name, '', about, ['', *allowed] if allowed else None)


def declare(arguments: Iterable[Argument]) -> list[Any]:
    """Return a `launch.actions.DeclareLaunchArgument` for each argument."""
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=argument.choices,
        )
        for argument in arguments
    ]


def is_true(name: str, text: str) -> bool:
    """Return whether an argument is true, by the rules of launch.

    Raises:
        LaunchError: it is neither true nor false.
    """
    value = {'true': True, '1': True, 'false': False, '0': False}.get(text.strip().lower())
    if value is None:
        raise LaunchError(f'{name}:={text} is neither true nor false')
    return value


def existing_file(name: str, text: str) -> Path:
    """Return the path of an argument that must be a file.

    Raises:
        LaunchError: it is none.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise LaunchError(f'{name}:={text}: there is no such file')
    return path


def read_parameter_file(path: Path) -> dict[str, Any]:
    """Return the parameters in a file, whichever nodes they are for; the last value counts.

    Raises:
        LaunchError: it is not a parameter file.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # The message of a YAML error has several lines.
        raise LaunchError(f'config:={path}: {" ".join(str(error).split())}') from error
    found: dict[str, Any] = {}
    if not _collect(content, found):
        raise LaunchError(
            f'config:={path} is not a parameter file: it must be like config/track.yaml, which '
            f'begins with /**: ros__parameters:'
        )
    return found


def _collect(content: Any, found: dict[str, Any]) -> bool:
    """Add all `ros__parameters` to `found`; return whether there are any."""
    if not isinstance(content, Mapping):
        return False
    any_found = False
    for key, value in content.items():
        if key == 'ros__parameters' and isinstance(value, Mapping):
            found |= value
            any_found = True
        else:
            any_found |= _collect(value, found)
    return any_found


def require_package(package: str, reason: str) -> None:
    """Refuse to start without an optional ROS package.

    Raises:
        LaunchError: it is not installed; the message says how to install it.
    """
    try:
        get_package_share_directory(package)
    except PackageNotFoundError as error:
        raise LaunchError(
            f'{reason} needs the package {package}: '
            f'sudo apt-get install ros-$ROS_DISTRO-{package.replace("_", "-")}'
        ) from error


def profile(argument: str) -> dict[str, str]:
    """Return the environment that chooses a profile of Fast DDS; other middlewares ignore it."""
    if argument == 'none':
        return {}
    return {PROFILE_VARIABLE: str(existing_file('fastdds_profile', argument))}


def page_node(value: Mapping[str, str], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the arguments of the action that starts page_node; nothing unless `page` is true.

    One serves all cameras: it finds the tracking nodes on the graph.

    Args:
        value: the arguments.
        environment: additional environment variables.

    Raises:
        LaunchError: an argument cannot be used, or aiohttp is not installed.
    """
    if not is_true('page', value['page']):
        return []
    if importlib.util.find_spec('aiohttp') is None:
        raise LaunchError(
            'page:=true needs aiohttp: python3 -m pip install "aiohttp>=3.14,<4" segno'
        )
    port = value['page_port']
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise LaunchError(f'page_port:={port} is not a port')
    parameters: list[Any] = [{'host': value['page_host'], 'port': int(port)}]
    if value['page_config']:
        parameters.append(str(existing_file('page_config', value['page_config'])))
    return [
        {
            'package': 'tam_ros',
            'executable': 'page_node',
            'name': 'page_node',
            'output': 'screen',
            'parameters': parameters,
            'additional_env': dict(environment),
        }
    ]


def remapped_topics(value: Mapping[str, str]) -> dict[str, str]:
    """Return the topics of the node by the names that it has without remapping.

    Args:
        value: the arguments.
    """
    # image_transport and rqt_image_view name their topics after the raw one.
    camera = value['image']
    for suffix in (transport.suffix for transport in KNOWN):
        camera = camera.removesuffix(suffix)
    return {
        'image': value['image'],
        'camera_info': value['camera_info'] or join(dirname(camera), 'camera_info'),
        'depth': value['depth'],
        '~/click': value['click'] or f'{camera}_mouse_left',
        'clicked_point': value['clicked_point'],
        '~/detections': value['detections'] or '~/detections',
    }


_NAMESPACE = re.compile(r'/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)


def camera_namespaces(text: str) -> list[str]:
    """Return the namespaces in a list such as `front,rear`.

    Raises:
        LaunchError: there is none, one is not a ROS name, or one is there twice.
    """
    names = [name.strip() for name in text.split(',') if name.strip()]
    if not names:
        raise LaunchError(f'cameras:={text} names no camera; give namespaces: cameras:=front,rear')
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise LaunchError(
                f'cameras:={text}: {name!r} is not a namespace, which has letters, digits and '
                f'underscores, and begins with no digit'
            )
    if twice := {name for name in names if names.count(name) > 1}:
        raise LaunchError(f'cameras:={text}: {", ".join(sorted(twice))} is there twice')
    return names
