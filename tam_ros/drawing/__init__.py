# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Drawings of results: overlays, object colours, contact sheets."""
