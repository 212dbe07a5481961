# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small model with pooled cross-attention; those of the catalogue have 1024 pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tam_ros import catalogue

NAME = 'efficienttam_nano_pooled'


def add(patch: pytest.MonkeyPatch) -> catalogue.Model:
    """Put the bundled model, with pooled cross-attention, into the catalogue and return it."""
    nano = catalogue.model('efficienttam_nano')
    entry = replace(nano, name=NAME, config={**nano.config, 'cross_attention': 'pooled'})
    patch.setitem(catalogue.models(), NAME, entry)
    return entry
