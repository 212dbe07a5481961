# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The system's Chromium, for tests of what a browser shows."""

from __future__ import annotations

import contextlib
import shutil

import pytest

_ARGUMENTS = [
    '--disable-gpu',
    '--no-first-run',
    # None of them has anything to connect to here, and each connection would be waited for.
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-sandbox',  # which root cannot have
]


@contextlib.contextmanager
def chromium():
    """Start a headless Chromium, as a browser of playwright; skip the test where there is none."""
    playwright = pytest.importorskip(
        'playwright.sync_api', reason='playwright is not installed'
    ).sync_playwright
    program = shutil.which('chromium') or shutil.which('chromium-browser')
    if program is None:
        pytest.skip('Chromium is not installed')
    with playwright() as run:
        browser = run.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
