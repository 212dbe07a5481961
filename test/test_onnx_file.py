# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Graphs that refer to other files, that are damaged, or that belong to another name."""

from __future__ import annotations

import shutil
import subprocess

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tam_ros import catalogue
from tam_ros.graph_files import CHECKSUMS, graph_file, read_graph, write_checksums
from tam_ros.model_files import WeightsError
from tam_ros.onnx_file import OnnxFileError, Port, check_numbers, read_ports, with_float_input

BUNDLED = catalogue.engines_dir() / 'efficienttam_nano'
X = helper.make_tensor_value_info('x', TensorProto.FLOAT, [None, 2])
Y = helper.make_tensor_value_info('y', TensorProto.FLOAT, [None, 2])


def tensor(external=True):
    """Return a tensor that is stored in another file."""
    made = numpy_helper.from_array(np.zeros(2, np.float32), 'c')
    if external:
        made.ClearField('raw_data')
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key='location', value='/etc/hostname')
    return made


def model(nodes=(), initializers=(), **fields):
    nodes = nodes or [helper.make_node('Add', ['x', 'c'], ['y'])]
    graph = helper.make_graph(list(nodes), 'g', [X], [Y], list(initializers))
    return helper.make_model(graph, **fields)


def constant(**attributes):
    return helper.make_node('Constant', [], ['c'], **attributes)


def in_a_branch():
    branch = helper.make_graph([], 'b', [], [Y], [tensor()])
    return model([helper.make_node('If', ['x'], ['y'], then_branch=branch, else_branch=branch)])


def in_a_function():
    function = helper.make_function(
        'd', 'f', [], ['c'], [constant(value=tensor())], [helper.make_opsetid('', 17)]
    )
    return model(functions=[function])


def in_a_sparse_tensor():
    made = model()
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor())
    return made


def in_the_training_part():
    made = model()
    made.training_info.add().algorithm.initializer.append(tensor())
    return made


def only_the_location():
    made = model(initializers=[tensor()])
    made.graph.initializer[0].ClearField('external_data')
    return made


def only_the_file():
    made = model(initializers=[tensor()])
    made.graph.initializer[0].ClearField('data_location')
    return made


@pytest.mark.parametrize(
    'make',
    [
        lambda: model(initializers=[tensor()]),
        lambda: model([constant(value=tensor())]),
        lambda: model([constant(values=[tensor(False), tensor()])]),
        in_a_branch,
        in_a_function,
        in_a_sparse_tensor,
        in_the_training_part,
        only_the_location,
        only_the_file,
    ],
)
def test_a_tensor_in_another_file_is_refused(make):
    with pytest.raises(OnnxFileError, match='stored in another file'):
        read_ports(make().SerializeToString())


def test_inputs_and_outputs_without_the_stored_tensors():
    made = model(initializers=[tensor(False)])
    made.graph.input.append(helper.make_tensor_value_info('c', TensorProto.FLOAT, [2]))
    ports = read_ports(made.SerializeToString())
    assert ports.inputs == {'x': Port('x', 'float32', (None, 2))}
    assert ports.outputs == {'y': Port('y', 'float32', (None, 2))}


def numbers(value, dtype, raw=True):
    """Return a tensor of three numbers, one of which is `value`."""
    array = np.array([1, value, 2], dtype)
    if raw:
        return numpy_helper.from_array(array, 'c')
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor('c', kind, [3], array.tolist())


@pytest.mark.parametrize('raw', [True, False])
@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_damaged_numbers_are_found(dtype, raw):
    raw = raw or dtype in (np.float16, ml_dtypes.bfloat16)
    for value, allowed in ((1, (True, False)), (np.inf, (True,)), (np.nan, ())):
        tensor = numbers(value, dtype, raw)
        for made in (model(initializers=[tensor]), model([constant(value=tensor)])):
            for infinities in (True, False):
                if infinities in allowed:
                    check_numbers(made.SerializeToString(), infinities)
                    continue
                with pytest.raises(OnnxFileError, match="damaged: its tensor 'c' contains"):
                    check_numbers(made.SerializeToString(), infinities)


def test_damaged_files_raise_one_error():
    data = (BUNDLED / 'memory_encoder_fp32.onnx').read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data[: random.integers(1, 4000)])
        for place in random.integers(0, len(damaged), 3):
            damaged[place] = random.integers(256)
        try:
            read_ports(bytes(damaged))
        except OnnxFileError:
            refused += 1
    assert refused > 200


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / 'graphs')


def test_a_folder_with_a_tensor_elsewhere_is_refused(folder):
    path = folder / 'memory_encoder_fp32.onnx'
    onnx.save(onnx.load(path), path, save_as_external_data=True, location='data', size_threshold=0)
    with pytest.raises(WeightsError, match=r'memory_encoder_fp32\.onnx .* another file'):
        graph_file(folder, 'memory_encoder', 'fp32')


def test_a_graph_under_the_name_of_another_is_refused(folder):
    shutil.copy(folder / 'mask_decoder_fp32.onnx', folder / 'memory_encoder_fp32.onnx')
    with pytest.raises(WeightsError, match='another graph than memory_encoder: its inputs are'):
        graph_file(folder, 'memory_encoder', 'fp32')


def test_a_graph_of_another_size_is_refused(folder):
    path = folder / 'image_encoder_fp32.onnx'
    made = onnx.load(path)
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 512
    onnx.save(made, path)
    with pytest.raises(WeightsError, match=r'image is uint8 \[1, 512, 384, 3\], not uint8'):
        graph_file(folder, 'image_encoder', 'fp32')


def image_model(dtype=TensorProto.UINT8, name='image'):
    """Return the bytes of a graph that begins by converting its input."""
    taken = helper.make_tensor_value_info(name, dtype, [2])
    nodes = [
        helper.make_node('Cast', [name], ['f'], to=TensorProto.FLOAT),
        helper.make_node('Add', ['f', 'f'], ['y']),
    ]
    given = helper.make_tensor_value_info('y', TensorProto.FLOAT, [2])
    return helper.make_model(
        helper.make_graph(nodes, 'g', [taken], [given]),
        opset_imports=[helper.make_opsetid('', 17)],
        ir_version=8,
    ).SerializeToString()


def test_an_input_of_bytes_is_made_one_of_floats_and_nothing_else_changes():
    data = image_model()
    floats = with_float_input(data, 'image')
    assert len(floats) == len(data)
    assert sum(a != b for a, b in zip(floats, data, strict=True)) == 1
    assert onnx.load_model_from_string(floats).graph.input[0].type.tensor_type.elem_type == 1
    assert read_ports(floats).inputs['image'] == Port('image', 'float32', (2,))


@pytest.mark.parametrize(
    'data', [image_model(TensorProto.FLOAT), image_model(name='picture'), b'', image_model()[:-9]]
)
def test_a_model_without_that_input_is_refused(data):
    with pytest.raises(OnnxFileError):
        with_float_input(data, 'image')


def test_damaged_numbers_of_a_graph_are_refused(folder):
    path = folder / 'memory_encoder_fp32.onnx'
    made = onnx.load(path)
    tensor = next(one for one in made.graph.initializer if len(one.raw_data) > 1000)
    tensor.raw_data = tensor.raw_data[:-2] + b'\xff\x7f'
    onnx.save(made, path)
    with pytest.raises(WeightsError, match=r'memory_encoder_fp32\.onnx .*not finite'):
        read_graph(folder, 'memory_encoder', 'fp32')


def test_the_hashes_of_an_export_are_checked(folder):
    path = folder / 'memory_encoder_fp32.onnx'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # a number of some tensor
    path.write_bytes(data)
    with pytest.raises(WeightsError, match='damaged, or was replaced.*SHA256SUMS'):
        read_graph(folder, 'memory_encoder', 'fp32')
    assert len(read_graph(folder, 'mask_decoder', 'fp32')) > 1000
    write_checksums(folder)
    assert read_graph(folder, 'memory_encoder', 'fp32') == data
    (folder / CHECKSUMS).write_bytes(b'\xff' * 9)
    with pytest.raises(WeightsError, match='cannot be read as a list of checksums'):
        read_graph(folder, 'memory_encoder', 'fp32')
    (folder / CHECKSUMS).unlink()
    read_graph(folder, 'memory_encoder', 'fp32')


def test_the_hashes_of_the_bundled_graphs_are_those_of_sha256sum():
    done = subprocess.run(['sha256sum', '-c', '--quiet', CHECKSUMS], cwd=BUNDLED)
    assert done.returncode == 0
    assert len((BUNDLED / CHECKSUMS).read_text().splitlines()) == 4
