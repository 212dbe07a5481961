# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the node reports about itself on /diagnostics."""
