# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who may use the page: names of the host, origins and the token. Without any library.

A page of somebody else that is open in the operator's browser can send requests to every address
that the browser reaches. It cannot choose `Host` and `Origin`: the first is the name under which
the browser reaches us, the second that of the page. A name that an attacker lets point to our
address (DNS rebinding) is not one of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

MIN_TOKEN = 16
"""Shortest token that is accepted as a parameter, characters."""


class Access:
    """Checks requests against what the page was started with.

    Attributes:
        token: what a browser has to know; empty: nothing.
    """

    def __init__(self, host: str, token: str, tls: bool, other_hosts: Iterable[str] = ()) -> None:
        """Decide whether a token is needed.

        Args:
            host: address that the server listens on.
            token: empty: made at random if others than this computer can connect.
            tls: whether the page is served with TLS.
            other_hosts: further names under which browsers reach the page.
        """
        if not token and not is_loopback(host):
            token = secrets.token_urlsafe(16)
        self.token = token
        self._scheme = 'https' if tls else 'http'
        self._names = {'localhost', *(name.lower() for name in other_hosts)}
        if not is_loopback(host):
            own = socket.gethostname().lower()
            # The second is what mDNS offers, which phones know.
            self._names |= {own, f'{own.partition(".")[0]}.local', host.lower()}
        self._any_address = not is_loopback(host)

    def host_allowed(self, host: str) -> bool:
        """Return whether `Host` names this computer, by address or by one of its names.

        The port is not compared: it may be forwarded. An address cannot be rebound.
        """
        name = host_name(host)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return self._any_address or address.is_loopback

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Return whether a request comes from our own page.

        Args:
            origin: header `Origin`, which browsers send with every WebSocket; empty: none.
            host: header `Host`.
        """
        # A proxy may add TLS, and no other page can be at our host and port with either scheme.
        return origin.lower() in {f'{self._scheme}://{host}'.lower(), f'https://{host}'.lower()}

    def token_matches(self, given: str) -> bool:
        """Return whether a token is the right one, in a time that does not depend on it."""
        if not self.token:
            return True
        return hmac.compare_digest(given.encode(errors='replace'), self.token.encode())


def host_name(host: str) -> str | None:
    """Return the name or address in a header `Host`, in lower case; None: it has none."""
    try:
        parts = urlsplit(f'//{host}')
        parts.port  # noqa: B018 - raises for a wrong port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.hostname


def is_loopback(host: str) -> bool:
    """Return whether only programs on this computer can connect to an address."""
    try:
        return ipaddress.ip_address(host.strip('[]')).is_loopback
    except ValueError:
        return host.lower() == 'localhost'
