# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which sensor lies: pairs of statistics that stopped agreeing since a baseline, without ROS."""
