# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels many recordings by several processes or machines, and makes data sets of the results."""
