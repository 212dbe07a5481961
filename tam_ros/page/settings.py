# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The parameters of page_node, without ROS."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tam_ros.page.access import MIN_TOKEN


class SettingsError(ValueError):
    """A parameter cannot be used; the message is one line."""


def _row(default: Any, about: str, limits: tuple[int, int] | None = None) -> Any:
    metadata = {'about': about, 'limits': limits}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PageSettings:
    """The parameters; `metadata` of each field has its description and range."""

    host: str = _row(
        '127.0.0.1',
        'Address to listen on. 0.0.0.0: all of this computer, so that phones can connect; a token '
        'is then asked for.',
    )
    port: int = _row(8080, 'Port to listen on. 0: any that is free.', (0, 65535))
    may_prompt: bool = _row(True, 'false: the page only shows; nothing can be changed.')
    token: str = _row(
        '',
        f'What a browser has to know, at least {MIN_TOKEN} characters. Empty: made at each start '
        'if the host is not this computer alone.',
    )
    certificate: str = _row('', 'PEM file with the certificate, for https. Empty: http.')
    key: str = _row('', 'PEM file with the key of the certificate.')
    host_names: list[str] = _row(
        [''], 'Further names under which browsers reach the page, as through a proxy.'
    )
    max_clients: int = _row(8, 'Most browsers at the same time.', (1, 200))
    jpeg_quality: int = _row(
        80, 'Quality of pictures that the camera has not compressed.', (1, 100)
    )
    max_side: int = _row(
        1280, 'Longest side of these pictures, pixels; larger ones are reduced.', (160, 8192)
    )

    def check(self) -> None:
        """Refuse values that cannot be used together.

        Raises:
            SettingsError: which, and what to do.
        """
        for row in fields(self):
            limits, value = row.metadata['limits'], getattr(self, row.name)
            if limits and not limits[0] <= value <= limits[1]:
                raise SettingsError(f'{row.name}: {value} is not in {limits[0]} to {limits[1]}')
        if self.token and len(self.token) < MIN_TOKEN:
            raise SettingsError(f'token: it must have at least {MIN_TOKEN} characters')
        if bool(self.certificate) != bool(self.key):
            raise SettingsError('certificate and key must be set together')
        for name in ('certificate', 'key'):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                raise SettingsError(f'{name}: {path}: there is no such file')


def markdown_table() -> str:
    """Return the table of the parameters in docs/page.md."""
    lines = ['| parameter | default | meaning |', '| --- | --- | --- |']
    for row in fields(PageSettings):
        value = getattr(PageSettings(), row.name)
        value = ([item for item in value if item] or '') if isinstance(value, list) else value
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        limits = row.metadata['limits']
        about = row.metadata['about'] + (f' {limits[0]} to {limits[1]}.' if limits else '')
        lines.append(f'| `{row.name}` | {f"`{shown}`" if shown else "empty"} | {about} |')
    return '\n'.join(lines)
