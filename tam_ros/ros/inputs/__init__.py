# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Topics and services that prompt the tracker. Each source is one class on an `InputPort`."""
