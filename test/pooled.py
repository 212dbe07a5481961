# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small model with pooled cross-attention, which the catalogue has at 1024 pixels only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tam_ros import catalogue

NAME = 'efficienttam_nano_pooled'


def add(patch: pytest.MonkeyPatch) -> catalogue.Model:
    """Add the bundled model with pooled cross-attention to the catalogue; return its entry."""
    nano = catalogue.model('efficienttam_nano')
    entry = replace(nano, name=NAME, config={**nano.config, 'cross_attention': 'pooled'})
    patch.setitem(catalogue.models(), NAME, entry)
    return entry
