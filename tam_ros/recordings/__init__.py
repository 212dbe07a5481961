# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracks recordings and writes the results."""
