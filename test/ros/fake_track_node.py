"""The node, as it is, with the colour tracker in place of a model."""

import sys

from fake_tracker import ColourTracker

from tam_ros.ros.node import main

if __name__ == '__main__':
    sys.exit(main(open_tracker=ColourTracker.open))
