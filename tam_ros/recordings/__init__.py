# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings from their first frame to their last: tracking them, and what becomes of it."""
