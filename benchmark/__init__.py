# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scripts that measure what docs/performance.md states, and write its tables."""
