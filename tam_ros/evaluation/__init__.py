# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Measures of how well masks agree with the truth."""
