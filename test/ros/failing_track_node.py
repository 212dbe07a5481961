# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node with the colour tracker; it fails once where FAIL_AT says."""

import os
import sys

from fakes.colour_tracker import ColourTracker

from tam_ros.ros.diagnostics.health import Health
from tam_ros.ros.track_node import TrackNode, main

PLACES = {
    'opened': (Health, 'opened'),
    'activate': (TrackNode, 'create_subscription'),
    'listening': (TrackNode, 'resolve_topic_name'),
    'deactivate': (TrackNode, 'destroy_subscription'),
}


def fail_once(where: str) -> None:
    """Let a method raise the first time it is called by a transition."""
    owner, name = PLACES[where]
    method = getattr(owner, name)

    def broken(self, *arguments, **options):
        if sys._getframe(1).f_code.co_name.startswith(('on_', '_unsubscribe')):
            setattr(owner, name, method)
            raise RuntimeError(f'broken on purpose: {where}')
        return method(self, *arguments, **options)

    setattr(owner, name, broken)


if __name__ == '__main__':
    fail_once(os.environ['FAIL_AT'])
    sys.exit(main(open_tracker=ColourTracker.open))
