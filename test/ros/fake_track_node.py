# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node, as it is, with a stand-in for the tracker: STAND_IN names its class."""

import os
import sys

from fakes import colour_tracker

from tam_ros.ros.track_node import main

if __name__ == '__main__':
    stand_in = getattr(colour_tracker, os.environ.get('STAND_IN', 'ColourTracker'))
    sys.exit(main(open_tracker=stand_in.open))
