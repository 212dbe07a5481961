# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy: what the node has on the graph, and what keys are made of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from ros_graph import NODE

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / 'config' / 'sros2_policy.xml'
ENCLAVES = ('track_node', 'camera', 'viewer', 'operator', 'administrator')

# What the node only has with other parameters, or with packages that are not installed here.
WITH_PARAMETERS = {
    ('subscribe', '/image/compressed'),
    ('subscribe', '/image/ffmpeg'),
    ('subscribe', '/image/foxglove'),
    ('subscribe', '/depth/compressed'),
    ('subscribe', '/depth/compressedDepth'),
    ('subscribe', '/clock'),
    ('reply', f'{NODE}/detect_once'),
    ('reply', f'{NODE}/segment'),
}
WITH_PACKAGES = {
    ('subscribe', f'{NODE}/detections'),
    ('publish', f'{NODE}/detections_2d'),
    ('publish', f'{NODE}/detections_3d'),
    ('publish', f'{NODE}/label_info'),
    ('subscribe', '/tf'),
    ('subscribe', '/tf_static'),
    ('publish', '/tf'),
}
# Since Iron.
WITH_DISTRIBUTION = {('reply', f'{NODE}/get_type_description')}


def full_name(name, namespace, node):
    if name.startswith('/'):
        return name
    namespace = namespace.rstrip('/')
    return f'{namespace}/{node}{name[1:]}' if name.startswith('~') else f'{namespace}/{name}'


def permissions(enclave):
    """Return pairs of what is allowed and a full name."""
    (profile,) = ElementTree.parse(POLICY).findall(
        f".//enclave[@path='/tam_ros/{enclave}']/profiles/profile"
    )
    return {
        (permission, full_name(one.text, profile.get('ns'), profile.get('node')))
        for group in profile
        for permission in group.attrib
        for one in group
    }


def test_the_policy_has_what_the_node_has(start, make_peer):
    node, peer = start(arguments=('--ros-args',)), make_peer()
    peer.wait('the node', lambda: 'waiting for images' in node.log)
    looked_up = peer.node
    name, namespace = NODE.rpartition('/')[2], '/'

    def read_graph():
        if (name, namespace) not in looked_up.get_node_names_and_namespaces():
            return set()
        return {
            (permission, topic)
            for permission, read in (
                ('publish', looked_up.get_publisher_names_and_types_by_node),
                ('subscribe', looked_up.get_subscriber_names_and_types_by_node),
                ('reply', looked_up.get_service_names_and_types_by_node),
                ('request', looked_up.get_client_names_and_types_by_node),
            )
            for topic, _ in read(name, namespace)
        }

    allowed = permissions('track_node')
    optional = WITH_PARAMETERS | WITH_PACKAGES | WITH_DISTRIBUTION
    peer.wait('its topics and services', lambda: allowed - optional <= read_graph())
    assert read_graph() <= allowed, 'the node has more than the policy'
    assert optional <= allowed


def test_the_others_talk_to_the_node_alone():
    """What they send the node receives, and what they receive it sends."""
    answers = {'publish': 'subscribe', 'subscribe': 'publish', 'request': 'reply'}
    allowed = permissions('track_node')
    of_every_node = {('publish', '/parameter_events'), ('publish', '/rosout')}
    for enclave in ENCLAVES[1:]:
        for permission, name in permissions(enclave) - of_every_node:
            assert (answers[permission], name) in allowed, (enclave, permission, name)


def test_only_an_administrator_changes_parameters_and_states():
    critical = {
        ('request', f'{NODE}/{name}')
        for name in ('set_parameters', 'set_parameters_atomically', 'change_state')
    }
    assert critical <= permissions('administrator')
    for enclave in ('camera', 'viewer', 'operator'):
        assert not critical & permissions(enclave)
    assert {permission for permission, _ in permissions('viewer')} == {'subscribe', 'publish'}


def test_the_docs_have_the_names_of_the_enclaves():
    paths = [one.get('path') for one in ElementTree.parse(POLICY).iter('enclave')]
    assert paths == [f'/tam_ros/{name}' for name in ENCLAVES]
    text = (ROOT / 'docs' / 'security.md').read_text()
    assert all(f'`/tam_ros/{name}`' in text for name in ENCLAVES)


def test_keys_are_made_of_the_policy(ros, tmp_path, monkeypatch):
    """By sros2 itself, whose schemas check the policy and the permissions, signed by a new key."""
    keystore = pytest.importorskip('sros2.keystore', reason='sros2 is not installed here')
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    store = tmp_path / 'keys'
    keystore.create_keystore(store)
    for enclave in ENCLAVES:
        path = f'/tam_ros/{enclave}'
        keystore.create_enclave(store, path)
        keystore.create_permission(store, path, POLICY)
        folder = store / 'enclaves' / 'tam_ros' / enclave
        assert {'cert.pem', 'key.pem', 'governance.p7s', 'permissions.p7s'} <= {
            one.name for one in folder.iterdir()
        }
        rules = ElementTree.parse(folder / 'permissions.xml')
        (default,) = rules.iter('default')
        assert default.text == 'DENY'
        found = {
            (permission, topic.text)
            for permission in ('publish', 'subscribe')
            for rule in rules.iter('allow_rule')
            for group in rule.iter(permission)
            for topic in group.iter('topic')
        }
        for permission, name in permissions(enclave):
            if permission in ('publish', 'subscribe'):
                assert (permission, f'rt{name}') in found, (enclave, name)
            else:
                sent = f'rr{name}Reply' if permission == 'reply' else f'rq{name}Request'
                assert ('publish', sent) in found, (enclave, name)
