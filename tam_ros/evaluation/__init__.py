# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of masks against ground truth, and the time that tracking takes."""
