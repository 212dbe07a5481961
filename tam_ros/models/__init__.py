# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The networks, with the module names of the official checkpoints (needs torch)."""
