# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pages on which a person checks the labels of a recording."""
