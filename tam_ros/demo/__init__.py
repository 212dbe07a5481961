# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo: a drawn clip with ground truth, a camera that plays it, and the tracking node."""
