# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node with the colour tracker; it fails once where FAIL_AT says."""

import os
import sys

from fakes.colour_tracker import ColourTracker

from tam_ros.ros import track_node
from tam_ros.ros.diagnostics.health import Health
from tam_ros.ros.images.subscription import ImageSubscription
from tam_ros.ros.inputs.source import InputPort

PLACES = {
    'opened': (Health, 'opened'),
    'activate': (track_node, 'ImageSubscription'),
    'listening': (InputPort, 'activate'),
    'deactivate': (ImageSubscription, 'close'),
}


def fail_once(where: str) -> None:
    """Let a method or class raise the first time it is called by a transition."""
    owner, name = PLACES[where]
    method = getattr(owner, name)

    def broken(*arguments, **options):
        if sys._getframe(1).f_code.co_name.startswith(('on_', '_unsubscribe')):
            setattr(owner, name, method)
            raise RuntimeError(f'broken on purpose: {where}')
        return method(*arguments, **options)

    setattr(owner, name, broken)


if __name__ == '__main__':
    fail_once(os.environ['FAIL_AT'])
    sys.exit(track_node.main(open_tracker=ColourTracker.open))
