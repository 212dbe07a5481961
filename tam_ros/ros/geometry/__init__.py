# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Depth images, camera calibration and transforms, as the node receives them."""
