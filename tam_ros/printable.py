# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts from outside, made fit for a log line or a message."""

from __future__ import annotations

MAX_NAME = 256
"""Most characters of a name from outside: of an object, a class, a frame, an encoding, a node."""

MAX_TEXT = 500
"""Most characters of a sentence that is sent out, which may contain such names."""


def one_line(text: str, limit: int) -> str:
    """Return a text as one printable line: what a terminal would obey is shown as an escape.

    Args:
        text: whatever a file, a message or a library says.
        limit: most characters of the result; a longer text is cut and ends with `...`.
    """
    # Cut first, as an escape is longer than its character, and the text may have megabytes.
    is_long = len(text) > limit
    shown = ' '.join(text[: limit + 1].split())
    if not shown.isprintable():
        shown = ''.join(
            one if one.isprintable() else one.encode('unicode_escape').decode() for one in shown
        )
    return f'{shown[: max(0, limit - 3)]}...' if is_long or len(shown) > limit else shown


def printable(text: str, limit: int) -> str:
    """Return a text as it is if it is printable and not too long, otherwise see `one_line`."""
    return text if len(text) <= limit and text.isprintable() else one_line(text, limit)
