# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clicks, detections and prompt texts as requests to the tracker; without ROS.

The command line imports `prompt_text` to print its help, so nothing is imported here.
"""
