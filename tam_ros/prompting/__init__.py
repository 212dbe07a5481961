# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What operators and detectors mean, as requests for the tracker; without ROS."""
