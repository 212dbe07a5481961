# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""For tools that still need this file; pyproject.toml has all settings."""

from setuptools import setup

setup()
