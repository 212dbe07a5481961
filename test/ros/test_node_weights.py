# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Invalid weights and impossible transitions, with the node in its own process."""

from __future__ import annotations

import shutil
import sys

import pytest
from fakes.colour_tracker import picture
from ros_graph import add, change_state, click

from tam_ros.catalogue import engines_dir

REAL_NODE = (sys.executable, '-m', 'tam_ros.ros.track_node')
BUNDLED = 'efficienttam_nano'
bundled = pytest.mark.skipif(
    not (engines_dir() / BUNDLED).is_dir(), reason='no trained weights are bundled'
)


def bundled_copy(folder, broken):
    """Copy the bundled graphs and replace one file by another text, or remove it with None."""
    made = shutil.copytree(engines_dir() / BUNDLED, folder / 'graphs')
    for name, content in broken.items():
        path = next(made.glob(name))
        path.unlink() if content is None else path.write_bytes(content(path.read_bytes()))
    return made


# Each row: wrong weights, and words of the log before the node ends.
WEIGHTS = [
    pytest.param(lambda tmp: tmp / 'nowhere.pt', 'do not exist', id='no such file'),
    pytest.param(lambda tmp: tmp, 'contains no model.json', id='a folder without graphs'),
    pytest.param(
        lambda tmp: bundled_copy(tmp, {'image_encoder*.onnx': None}),
        'image_encoder',
        id='a graph is missing',
    ),
    pytest.param(
        lambda tmp: bundled_copy(tmp, {'mask_decoder*.onnx': lambda data: data[:99_999]}),
        'mask_decoder',
        id='a truncated graph',
    ),
    pytest.param(
        lambda tmp: bundled_copy(tmp, {'model.json': lambda data: b'{}'}),
        'cannot be read as the description of the graphs',
        id='another description',
    ),
]


@bundled
@pytest.mark.slow
@pytest.mark.parametrize(('weights', 'words'), WEIGHTS)
def test_graphs_that_cannot_be_used(start, tmp_path, weights, words):
    node = start('-p', f'weights:={weights(tmp_path)}', command=REAL_NODE)
    assert node.process.wait(60) == 1
    assert f'cannot open {BUNDLED}' in node.log
    assert words in node.log
    assert 'Traceback' not in node.log


def checkpoint(tmp_path, change):
    from safetensors.torch import load_file, save_file

    state = load_file(engines_dir() / BUNDLED / f'{BUNDLED}.safetensors')
    change(state)
    save_file(state, tmp_path / 'weights.safetensors')
    return tmp_path / 'weights.safetensors'


def cut(path):
    path.write_bytes(path.read_bytes()[:100_000])
    return path


# Each row: a checkpoint, the model it is opened as, and words of the log.
CHECKPOINTS = [
    pytest.param(
        lambda tmp: checkpoint(tmp, lambda state: state.pop('no_mem_embed')),
        BUNDLED,
        'missing: no_mem_embed',
        id='a key is missing',
    ),
    pytest.param(
        lambda tmp: checkpoint(tmp, lambda state: state.update(surplus=state['no_mem_embed'] + 0)),
        BUNDLED,
        'unknown: surplus',
        id='an unexpected key',
    ),
    pytest.param(
        lambda tmp: checkpoint(tmp, dict),
        'efficienttam_ti_512x512',
        'do not belong to efficienttam_ti_512x512',
        id='another architecture',
    ),
    pytest.param(
        lambda tmp: cut(checkpoint(tmp, dict)),
        BUNDLED,
        'cannot be read',
        id='truncated',
    ),
]


@bundled
@pytest.mark.slow
@pytest.mark.parametrize(('weights', 'model', 'words'), CHECKPOINTS)
def test_checkpoints_that_cannot_be_used(start, tmp_path, weights, model, words):
    pytest.importorskip('torch')
    pytest.importorskip('safetensors')
    node = start(
        '-p',
        f'weights:={weights(tmp_path)}',
        '-p',
        f'model:={model}',
        command=REAL_NODE,
        TAM_ROS_CACHE=str(tmp_path / 'cache'),
    )
    assert node.process.wait(90) == 1
    assert words in node.log
    assert 'Traceback' not in node.log


def test_a_managed_node_whose_weights_are_wrong_can_be_configured_again(start, make_peer):
    """The transition fails, the process continues, and it succeeds with valid parameters."""
    node, peer = start('-p', 'autostart:=false', '-p', 'weights:=missing'), make_peer()
    assert not change_state(peer, 'configure')
    assert 'weights missing do not exist' in node.log
    assert 'not configured' in add(peer, click(15, 15)).message
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    request = SetParameters.Request(parameters=[Parameter('weights', value='').to_parameter_msg()])
    assert peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert change_state(peer, 'configure')
    assert change_state(peer, 'activate')
    peer.meet(node, picture())


def test_a_caller_of_the_parameter_services_cannot_leave_the_allowed_folder(
    start, make_peer, tmp_path
):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    allowed, outside = tmp_path / 'allowed', tmp_path / 'outside.pt'
    allowed.mkdir()
    outside.write_bytes(b'')
    (allowed / 'link.pt').symlink_to(outside)
    (allowed / 'inside.pt').write_bytes(b'')
    node = start('-p', 'autostart:=false', '-p', f'allowed_weights_dir:={allowed}')
    peer = make_peer()

    def change(name, value):
        values = [Parameter(name, value=str(value)).to_parameter_msg()]
        request = SetParameters.Request(parameters=values)
        return peer.call(SetParameters, 'set_parameters', request).results[0]

    for folder in ('', '/', tmp_path):
        answer = change('allowed_weights_dir', folder)
        assert not answer.successful and 'read-only' in answer.reason
    for weights in (outside, allowed / 'link.pt', allowed / '..' / 'outside.pt'):
        assert change('weights', weights).successful
        assert not change_state(peer, 'configure')
    assert node.log.count(f"'{outside}' is not in {allowed}") == 3
    assert change('weights', allowed / 'inside.pt').successful
    assert change_state(peer, 'configure')


def test_impossible_transitions_change_nothing(graph):
    """Activated twice, or cleaned up while it is active: it stays active."""
    node, peer = graph
    assert add(peer, click(15, 15)).success
    for transition in ('activate', 'configure', 'cleanup', 99):
        assert not change_state(peer, transition)
    objects, _ = peer.track(picture(red=(10, 10)))
    assert [item.area for item in objects.objects] == [100], 'it continues to track'
    assert 'Traceback' not in node.log
