# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The parameters of page_node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import setup_environment

from tam_ros.page import settings
from tam_ros.page.settings import PageSettings, SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'port': 70000}, 'port: 70000 is not in 0 to 65535'),
        ({'token': 'short'}, 'at least 16'),
        ({'certificate': __file__}, 'set together'),
        ({'certificate': __file__, 'key': 'nosuch.pem'}, 'key: nosuch.pem: there is no such file'),
        ({'max_clients': 0}, 'max_clients'),
    ],
)
def test_what_cannot_be_used_is_refused(change, words):
    with pytest.raises(SettingsError, match=words):
        replace(PageSettings(), **change).check()


def test_the_defaults_can_be_used_and_are_documented():
    PageSettings().check()
    assert settings.markdown_table() in (ROOT / 'docs' / 'page.md').read_text()


def test_make_play_installs_the_extra():
    project = (ROOT / 'pyproject.toml').read_text()
    listed = ', '.join(f'"{name}"' for name in setup_environment.PAGE)
    assert f'page = [{listed}]' in project
