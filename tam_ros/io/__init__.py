# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes videos, image folders, masks and ROS bags; ROS need not be installed."""
