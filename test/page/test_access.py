# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Names of the host, origins, tokens."""

from __future__ import annotations

import socket

import pytest

from tam_ros.page.access import Access, host_name, is_loopback

LOCAL = Access('127.0.0.1', '', tls=False)
OPEN = Access('0.0.0.0', '', tls=False, other_hosts=['Robot.Example'])


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '127.9.9.9', '[::1]', 'LOCALHOST'])
@pytest.mark.parametrize('port', ['', ':8080', ':9000'])
def test_this_computer_is_reached_by_its_own_names(host, port):
    assert LOCAL.host_allowed(host + port)
    assert OPEN.host_allowed(host + port)


@pytest.mark.parametrize(
    'host',
    ['evil.example', 'localhost.evil.example', '', 'localhost:x', 'a@localhost', 'localhost/x'],
)
def test_other_names_are_refused(host):
    assert not LOCAL.host_allowed(host)
    assert not OPEN.host_allowed(host)


def test_addresses_and_names_count_where_others_may_connect():
    for host in ('192.168.1.5:8080', '[fe80::1]:8080', f'{socket.gethostname()}:1'):
        assert OPEN.host_allowed(host) and not LOCAL.host_allowed(host)
    assert OPEN.host_allowed('robot.example')


def test_only_our_own_page_is_an_origin():
    assert LOCAL.origin_allowed('http://localhost:8080', 'localhost:8080')
    for origin in ('', 'null', 'http://localhost:8081', 'http://evil.example', 'file://'):
        assert not LOCAL.origin_allowed(origin, 'localhost:8080')
    secure = Access('0.0.0.0', '', tls=True)
    assert secure.origin_allowed('https://10.0.0.1:8443', '10.0.0.1:8443')
    assert not secure.origin_allowed('http://10.0.0.1:8443', '10.0.0.1:8443')
    assert LOCAL.origin_allowed('https://localhost', 'localhost'), 'a proxy may add TLS'


def test_a_token_is_made_where_others_may_connect():
    assert LOCAL.token == '' and LOCAL.token_matches('anything')
    assert len(OPEN.token) >= 20 and OPEN.token != Access('0.0.0.0', '', tls=False).token
    assert OPEN.token_matches(OPEN.token)
    for wrong in ('', OPEN.token[:-1], OPEN.token + 'x', 'é', '\ud800'):
        assert not OPEN.token_matches(wrong)
    assert not Access('127.0.0.1', 'a' * 16, tls=False).token_matches('')


def test_which_addresses_are_loopback():
    assert all(map(is_loopback, ('127.0.0.1', '::1', 'localhost')))
    assert not any(map(is_loopback, ('0.0.0.0', '::', '192.168.0.1', 'robot')))
    assert host_name('[::1]:80') == '::1'
