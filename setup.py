# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""For tools that still ask for it; everything is said in pyproject.toml."""

from setuptools import setup

setup()
