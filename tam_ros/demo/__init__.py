# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo: a drawn clip with known truth, a camera that plays it, the node that tracks it."""
