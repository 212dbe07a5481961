# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 client of the tracking node, for scripts that do not use rclpy themselves.

    from tam_ros.client import TamClient

    with TamClient('/track_node') as client:
        mug = client.add_point(320, 240, name='mug')
        client.wait_until_visible(mug, timeout=5)
        print(client.objects())

Modelled on `nav2_simple_commander.robot_navigator.BasicNavigator`: one method for each request,
which returns when the node has answered. Pixels: x to the right, y down, (0, 0) the
centre of the upper left pixel. All methods may be called from several threads.

A click belongs to the image on which it was made. Prompts therefore carry the stamp of the newest
tracked image that this client received, unless `stamp` says otherwise; before the first one they
apply to the next image. The node applies a prompt to the image of its stamp as long as it keeps
that image (parameter `prompt_history_seconds`).
"""

from __future__ import annotations

from tam_ros.client.results import (
    ObjectStatus,
    Preview,
    PromptRefusedError,
    RequestRefusedError,
    StatusEntry,
)
from tam_ros.client.tam_client import TamClient

__all__ = [
    'ObjectStatus',
    'Preview',
    'PromptRefusedError',
    'RequestRefusedError',
    'StatusEntry',
    'TamClient',
]
