# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Backends, which run the graphs of models. Each imports its library only when it is opened."""
