# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos, image folders and ROS bags in and out, without ROS installed."""
