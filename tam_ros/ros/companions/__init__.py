# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Nodes beside the tracking node, each in its own process."""
