# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The documentation and the files of RViz and Foxglove match the topics of the node."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'config'
# Message types of the displays, from rviz_default_plugins/plugins_description.xml of RViz.
DISPLAYS = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2',
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
}
# Of every managed node, and /tf for transforms of clicked points; not in the documentation.
NOT_DOCUMENTED = {
    'out': {'/rosout', '/parameter_events', '/track_node/transition_event'},
    'in': {'/parameter_events', '/clock', '/tf', '/tf_static'},
    'service': set(),
}
OF_EVERY_NODE = re.compile('(rcl_interfaces|lifecycle_msgs|type_description_interfaces)/srv/')


@pytest.fixture
def names(graph):
    """Names and types of the publishers, subscriptions and services of the node."""
    node, peer = graph
    ask = peer.node
    return {
        'published': dict(ask.get_publisher_names_and_types_by_node('track_node', '/')),
        'subscribed': dict(ask.get_subscriber_names_and_types_by_node('track_node', '/')),
        'served': dict(ask.get_service_names_and_types_by_node('track_node', '/')),
    }


def interfaces_of(names):
    """Return {direction: {name: type}} of the node, as the documentation names them."""
    return {
        direction: {
            name.replace('/camera/', '/').replace('/track_node/', '~/'): kind
            for name, (kind,) in names[key].items()
            if name not in NOT_DOCUMENTED[direction] and not OF_EVERY_NODE.match(kind)
        }
        for direction, key in (('in', 'subscribed'), ('out', 'published'), ('service', 'served'))
    }


def documented(text):
    """Return {direction: {name: type}} of the tables of topics and services in Markdown."""
    found = {'in': {}, 'out': {}, 'service': {}}
    for direction, names, kind in re.findall(r'^\| (\w+) \| (`[^|]+) \| ([^|]+)', text, re.M):
        found[direction].update(dict.fromkeys(re.findall('`(.+?)`', names), kind))
    return found


def topics_md():
    """Return what docs/topics.md lists; its table of services has no column for a direction."""
    topics, services = re.search(
        r'^## Topics\n(.+?)^## Services\n(.+?)^## ',
        (ROOT / 'docs' / 'topics.md').read_text(),
        re.M | re.S,
    ).groups()
    return documented(topics + re.sub('^[|] `', '| service | `', services, flags=re.M))


def test_the_documentation_has_all_topics_and_services(names):
    """With their types. Topics whose messages are not installed here are not compared."""
    found = interfaces_of(names)
    for direction, rows in topics_md().items():
        types = {
            name if name.startswith(('~', '/')) else f'/{name}': kind
            for name, kind in rows.items()
            if importlib.util.find_spec(re.search(r'\w+', kind)[0])
        }
        assert sorted(types) == sorted(found[direction])
        for name, kind in found[direction].items():
            package, _, message = kind.split('/')
            assert f'`{package}/{message}`' in types[name], f'{name} is {kind}'


def test_the_readme_lists_documented_topics_and_services():
    listed = documented((ROOT / 'README.md').read_text())
    for direction, rows in topics_md().items():
        assert listed[direction].keys() <= rows.keys()
        assert listed[direction]


def test_rviz(names):
    from tam_ros.demo.camera import FRAME_ID

    manager = yaml.safe_load((CONFIG / 'track.rviz').read_text())['Visualization Manager']
    shown = {}
    for display in manager['Displays']:
        if 'Topic' in display:
            topic = display['Topic']['Value']
            assert names['published'][topic] == [DISPLAYS[display['Class']]]
            shown[topic.rpartition('/')[2]] = display['Enabled']
    assert shown == {'overlay': True, 'labels': False, 'cloud': True, 'markers': True}
    tools = {tool['Class'].rpartition('/')[2]: tool for tool in manager['Tools']}
    clicked = tools['PublishPoint']['Topic']['Value']
    assert names['subscribed'][clicked] == ['geometry_msgs/msg/PointStamped']
    # The demo needs no options.
    assert manager['Global Options']['Fixed Frame'] == FRAME_ID


def test_every_panel_of_foxglove_is_in_the_layout():
    layout = json.loads((CONFIG / 'foxglove_layout.json').read_text())
    placed = []

    def place(node):
        if isinstance(node, str):
            placed.append(node)
            for tab in layout['configById'][node].get('tabs', ()):
                place(tab['layout'])
        else:
            assert node['direction'] in ('row', 'column')
            place(node['first'])
            place(node['second'])

    place(layout['layout'])
    assert sorted(placed) == sorted(layout['configById'])


def test_panels_of_foxglove_match_the_node(names):
    panels = json.loads((CONFIG / 'foxglove_layout.json').read_text())['configById']
    for name, panel in panels.items():
        kind = name.partition('!')[0]
        if kind == 'Image':
            assert panel['imageMode']['imageTopic'] in names['published']
        elif kind == '3D':
            assert panel['topics'].keys() <= names['published'].keys()
            assert panel['publish']['pointTopic'] in names['subscribed']
        elif kind == 'RawMessages':
            assert panel['topicPath'].partition('.')[0] in names['published']
        elif kind == 'DiagnosticSummary':
            assert panel['topicToRender'] in names['published']
        elif kind == 'CallService':
            (service,) = names['served'][panel['serviceName']]
            check_fields(load(service).Request, json.loads(panel['requestPayload']))
        elif kind == 'Publish':
            assert names['subscribed'][panel['topicName']] == [panel['datatype']]
            check_fields(load(panel['datatype']), json.loads(panel['value']))
        else:
            assert kind == 'Tab'


def load(name):
    """Return the class of a type such as `tam_ros/msg/Prompt`."""
    package, folder, kind = name.split('/')
    return getattr(importlib.import_module(f'{package}.{folder}'), kind)


def check_fields(kind, values):
    """Check that a message has the given fields."""
    types = kind.get_fields_and_field_types()
    assert values.keys() <= types.keys()
    for name, value in values.items():
        nested = re.search(r'(\w+)/(\w+)', types[name])
        for part in value if isinstance(value, list) else [value]:
            assert isinstance(part, dict) == bool(nested), f'{name}: {part!r} for {types[name]}'
            if nested:
                check_fields(load(f'{nested[1]}/msg/{nested[2]}'), part)
