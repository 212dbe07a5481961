# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Arguments of the launch files and what their text means, without `launch`."""

from __future__ import annotations

from pathlib import Path

import pytest
from ament_index_python import PackageNotFoundError

from tam_ros.ros import launching
from tam_ros.ros.distribution import PROFILE_VARIABLE
from tam_ros.ros.launching import LaunchError
from tam_ros.ros.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]


def test_every_argument_is_described_and_listed_once(monkeypatch):
    arguments = [*launching.node_arguments(ROOT), *launching.parameter_arguments()]
    names = [argument.name for argument in arguments]
    assert len(names) == len(set(names)), 'a parameter has the name of an argument'
    assert all(argument.description for argument in arguments)
    documented = (ROOT / 'docs' / 'topics.md').read_text()
    for argument in launching.node_arguments(ROOT):
        assert f'`{argument.name}`' in documented, argument.name


def test_every_parameter_is_an_argument_without_default():
    """A default would override the parameter file."""
    arguments = launching.parameter_arguments()
    assert [argument.name for argument in arguments] == [row.name for row in PARAMETERS]
    assert {argument.default for argument in arguments} == {''}


def test_defaults_choices_and_ranges_are_visible():
    about = {argument.name: argument for argument in launching.parameter_arguments()}
    assert about['runtime'].choices == ['', 'onnxruntime', 'openvino', 'tensorrt', 'torch']
    assert '(onnxruntime in config/track.yaml)' in about['runtime'].description
    assert 'efficienttam_nano' in about['model'].choices
    assert about['max_objects'].choices is None
    assert '1 to 255. ' in about['max_objects'].description
    assert '(true in config/track.yaml)' in about['autostart'].description
    assert "('' in config/track.yaml)" in about['weights'].description


def test_the_profile_of_the_environment_is_kept(monkeypatch):
    def default():
        (found,) = (one for one in launching.node_arguments(ROOT) if one.name == 'fastdds_profile')
        return found.default

    monkeypatch.setenv(PROFILE_VARIABLE, '/my/profile.xml')
    assert default() == '/my/profile.xml'
    monkeypatch.delenv(PROFILE_VARIABLE)
    assert Path(default()).is_file()


def test_true_and_false():
    assert launching.is_true('record', 'True') and launching.is_true('record', ' 1')
    assert not launching.is_true('record', 'false') and not launching.is_true('record', '0')
    with pytest.raises(LaunchError, match='record:=yes is neither true nor false'):
        launching.is_true('record', 'yes')


def test_a_page_is_served_if_it_is_asked_for(tmp_path, monkeypatch):
    value = {'page': 'false', 'page_host': '0.0.0.0', 'page_port': '80', 'page_config': ''}
    assert launching.page_node(value, {}) == []
    value['page'] = 'true'
    monkeypatch.setattr(launching.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(LaunchError, match='pip install "aiohttp'):
        launching.page_node(value, {})
    monkeypatch.setattr(launching.importlib.util, 'find_spec', lambda name: name)
    (node,) = launching.page_node(value, {'A': 'b'})
    assert (node['executable'], node['additional_env']) == ('page_node', {'A': 'b'})
    assert node['parameters'] == [{'host': '0.0.0.0', 'port': 80}]
    with pytest.raises(LaunchError, match='page_port:=1e3 is not a port'):
        launching.page_node(value | {'page_port': '1e3'}, {})
    with pytest.raises(LaunchError, match='page_config:=nosuch.yaml: there is no such file'):
        launching.page_node(value | {'page_config': 'nosuch.yaml'}, {})


def test_a_file_that_does_not_exist(tmp_path, monkeypatch):
    with pytest.raises(LaunchError, match='config:=nosuch.yaml: there is no such file'):
        launching.existing_file('config', 'nosuch.yaml')
    with pytest.raises(LaunchError, match='no such file'):
        launching.existing_file('config', str(tmp_path))
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'mine.yaml').touch()
    assert launching.existing_file('config', '~/mine.yaml') == tmp_path / 'mine.yaml', (
        'the shell does not replace ~ after :='
    )


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('/**:\n  ros__parameters:\n    threads: 2\n', {'threads': 2}),
        ('/front:\n  track_node:\n    ros__parameters: {threads: 2}\n', {'threads': 2}),
        (
            '/**:\n  ros__parameters: {threads: 2, model: a}\n'
            '/front/track_node:\n  ros__parameters: {threads: 3}\n',
            {'threads': 3, 'model': 'a'},
        ),
    ],
)
def test_parameters_in_a_file(tmp_path, text, found):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    assert launching.read_parameter_file(path) == found
    assert launching.read_parameter_file(ROOT / 'config' / 'track.yaml')['max_objects'] == 16


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('threads: 2\n', 'is not a parameter file'),
        ('', 'is not a parameter file'),
        ('- 1\n', 'is not a parameter file'),
        ('/**:\n  ros__parameters:\n    a: [\n', r'mine.yaml.* line '),
        ('\0', 'mine.yaml'),
    ],
)
def test_a_file_without_parameters(tmp_path, text, words):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(LaunchError, match=words) as caught:
        launching.read_parameter_file(path)
    assert '\n' not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    def share(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(launching, 'get_package_share_directory', share)
    with pytest.raises(LaunchError, match='apt-get install ros-.ROS_DISTRO-rosbag2-storage-mcap'):
        launching.require_package('rosbag2_storage_mcap', 'record:=true')


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('front', ['front']),
        ('front, rear', ['front', 'rear']),
        ('front,', ['front']),
        (',robot/front,/rear,', ['robot/front', '/rear']),
    ],
)
def test_namespaces_of_cameras(text, names):
    assert launching.camera_namespaces(text) == names


@pytest.mark.parametrize('text', ['', ',', ' , ', 'front,front', '1st', 'front rear', '/', 'a//b'])
def test_wrong_namespaces_of_cameras(text):
    with pytest.raises(LaunchError, match='cameras:='):
        launching.camera_namespaces(text)


@pytest.mark.parametrize('suffix', ['', '/compressed', '/ffmpeg'])
def test_topics_are_named_after_the_raw_images(suffix):
    given = dict.fromkeys(('camera_info', 'click', 'detections'), '')
    given |= {'depth': 'depth', 'clicked_point': '/clicked_point'}
    topics = launching.remapped_topics({'image': f'/cam/image_raw{suffix}', **given})
    assert topics['image'] == f'/cam/image_raw{suffix}'
    assert topics['camera_info'] == '/cam/camera_info'
    assert topics['~/click'] == '/cam/image_raw_mouse_left'
    assert topics['~/detections'] == '~/detections'
