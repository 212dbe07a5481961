# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Backends: what runs the graphs of a model. Each imports its own library only when it is opened."""
