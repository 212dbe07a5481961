# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YOLACT as a detector: the official results, every backend, and what cannot be used."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import otherkit
import pytest
import torch

from tam_ros import catalogue
from tam_ros.detection import Detector, DetectorOptions
from tam_ros.detection.yolact import assemble, choose, clipped, enlarge, network_input
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_graphs
from tam_ros.model_files import DetectorSpec, WeightsError, read_spec
from tam_ros.models.build import build_network
from tam_ros.tracking import FrameError

SMALL = {'image_size': 64, 'blocks': [1, 1, 1, 1]}
VARIANTS = {
    'plain': SMALL,
    'darknet': {'image_size': 64, 'backbone': 'darknet', 'blocks': [1, 1, 1, 1, 1]},
    # The network that judges masks needs some of 63 pixels.
    'plus': {
        'image_size': 256,
        'blocks': [1, 1, 1, 1],
        'deformable': [0, 1, 1, 1],
        'octave': 3,
        'square': False,
        'rescoring': True,
        'class_names': ['cup', 'dog', 'person'],
    },
}


@pytest.fixture(scope='module', autouse=True)
def small_models(tmp_path_factory):
    """Add small models to the catalogue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TAM_ROS_CACHE', str(tmp_path_factory.mktemp('cache')))
        for name, config in VARIANTS.items():
            entry = catalogue.Model(name, 'yolact', '', '', config, kind='detector')
            patch.setitem(catalogue.models(), name, entry)
        yield


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Return a function that returns the checkpoint and the graphs of a small model."""

    @lru_cache
    def export(name):
        folder = tmp_path_factory.mktemp(name)
        path = weights_of(name, folder / 'weights.pth')
        return path, export_model(catalogue.model(name), path, folder / 'graphs')

    return export


def checkpoint(path, shapes):
    """Write a checkpoint with the weights of the kit's rule."""
    state = {key: torch.from_numpy(otherkit.weight(key, one)) for key, one in shapes.items()}
    torch.save(state, path)
    return path


def weights_of(name, path):
    state = build_network(catalogue.model(name), 'untrained').state_dict()
    return checkpoint(path, {key: tuple(one.shape) for key, one in state.items()})


def picture(height=60, width=80):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def test_the_whole_network_equals_the_official_one(tmp_path):
    """The official checkpoint's keys, the network, what is chosen, and the masks."""
    kit = otherkit.arrays('yolact/net_open')
    path = checkpoint(tmp_path / 'official.pth', otherkit.shapes('yolact/resnet50'))
    image = np.ascontiguousarray(kit['image_bgr'][..., ::-1])
    with Detector.open('yolact_resnet50', path, 'torch', threads=1) as detector:
        session = detector._graphs.sessions['detect']
        outputs, run = {}, session.run
        session.run = lambda inputs: outputs.update(run(inputs)) or outputs
        found = detector.detect(image)
        none = DetectorOptions(min_score=0.9)
        detector._options = none
        session.run = lambda inputs: outputs
        assert len(detector.detect(image)) == 0

    assert relative(outputs['scores'][0, ::401], kit['conf_sample'][:, 1:]) < 1e-4
    assert relative(outputs['coefficients'][0, ::401], kit['mask_sample']) < 1e-4
    assert relative(outputs['prototypes'][0, ::12, ::12], kit['proto_sample']) < 1e-4

    assert len(found) == kit['det_n'] and found.masks.shape == (100, 300, 400)
    np.testing.assert_allclose(found.scores, kit['det_score'], rtol=1e-3)
    np.testing.assert_array_equal(found.class_ids, kit['det_class'])
    relative_boxes = found.boxes / np.array([400, 300, 400, 300])
    np.testing.assert_allclose(relative_boxes, kit['det_box'].clip(0, 1), atol=1e-5)
    assert np.abs(found.boxes.astype(int) - kit['post_box']).max() <= 1
    areas = found.masks.sum((1, 2))
    np.testing.assert_allclose(areas, kit['post_area'], rtol=0.01, atol=1)


@pytest.mark.parametrize('iou', ['0.3', '0.5', '0.7'])
@pytest.mark.parametrize(('across', 'name'), [(False, 'fast'), (True, 'cc')])
def test_choosing_equals_the_official_detection(iou, across, name):
    kit = otherkit.arrays('yolact/open')
    options = DetectorOptions(iou=float(iou), across_classes=across)
    found = choose(kit['in_boxes'] * 550, kit['in_conf'][1:].T, options)
    np.testing.assert_array_equal(found.scores, kit[f'{name}_{iou}_score'])
    np.testing.assert_array_equal(found.classes, kit[f'{name}_{iou}_cls'])
    np.testing.assert_array_equal(kit['in_boxes'][found.rows], kit[f'{name}_{iou}_boxes'])
    np.testing.assert_array_equal(kit['in_coeff'][found.rows], kit[f'{name}_{iou}_coeff'])


def test_masks_equal_the_official_ones():
    kit = otherkit.arrays('yolact/open')
    soft = assemble(kit['as_proto'], kit['as_coeff'], kit['as_boxes'])
    np.testing.assert_allclose(soft, np.moveaxis(kit['as_cropped'], 2, 0), atol=1e-6)
    width, height = kit['as_out_wh']
    count = len(soft) * width * height
    wanted = np.unpackbits(kit['as_out_masks'])[:count].reshape(kit['as_out_masks_shape'])
    np.testing.assert_array_equal(enlarge(soft, (height, width)), wanted)
    boxes = clipped(kit['as_boxes'] * np.tile([width, height], 2), (height, width))
    np.testing.assert_array_equal(boxes.astype(int), kit['as_out_boxes'])


def test_extreme_numbers_make_no_warnings_and_no_masks(recwarn):
    soft = assemble(np.full((4, 4, 1), 1e4, np.float32), np.array([[-1.0], [1.0]]), EDGES)
    assert not recwarn and soft[0].max() == 0 and soft[1].max() == 1


EDGES = np.array([[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]], np.float32)


@pytest.mark.parametrize(
    'name', ['plain', pytest.param('darknet', marks=pytest.mark.slow), 'plus']
)
def test_every_backend_computes_the_same(name, exported):
    path, folder = exported(name)
    spec = read_spec(folder)
    assert isinstance(spec, DetectorSpec) and spec.kind == 'detector'
    assert spec.class_names == tuple(VARIANTS[name].get('class_names', spec.class_names))
    side = VARIANTS[name]['image_size']
    images = network_input(picture(), side)
    masks = np.random.default_rng(1).uniform(0, 1, (2, 1, 64, 64)).astype(np.float32)
    wanted = {}
    for runtime, precision, limit in (
        ('torch', 'fp32', 0),
        ('onnxruntime', 'fp32', 1e-4),
        ('onnxruntime', 'fp16', 0.05),
        ('openvino', 'fp32', 1e-4),
    ):
        if find_spec(runtime) is None:
            continue
        source = path if runtime == 'torch' else folder
        with open_graphs(name, source, runtime, 1, precision=precision) as graphs:
            found = graphs.sessions['detect'].run({'image': images})
            if 'rescore' in graphs.sessions:
                found |= graphs.sessions['rescore'].run({'masks': masks})
        if not wanted:
            wanted = found
        assert found.keys() == wanted.keys()
        for key, one in wanted.items():
            assert found[key].dtype == np.float32 and np.isfinite(found[key]).all()
            assert relative(found[key], one) <= limit, (runtime, precision, key)


@pytest.mark.parametrize('precision', [pytest.param('fp32', marks=pytest.mark.slow), 'fp16'])
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_tensorrt_builds_the_graphs(precision, exported):
    why = 'TensorRT for RTX is not installed: its wheels are for Python 3.11 and 3.12 on x86'
    pytest.importorskip('tensorrt_rtx_libs', reason=why)
    trt = pytest.importorskip('tensorrt_rtx_bindings', reason=why)
    from tam_ros.tensorrt.builder import BuildSettings, build_engine

    _, folder = exported('plus')
    for graph in read_spec(folder).graph_names:
        data = (folder / f'{graph}_{precision}.onnx').read_bytes()
        assert build_engine(trt, graph, data, BuildSettings(max_batch=4)).plan


def test_boxes_masks_and_scores_of_one_detection(tmp_path):
    """Untrained scores are all unlikely, so one is made likely."""
    options = DetectorOptions(min_score=0.5)
    with Detector.open('plus', 'untrained', 'torch', threads=1, options=options) as detector:
        assert detector.class_names == ('cup', 'dog', 'person')
        assert 'untrained' in detector.info['weights'] and detector.info['device'] == 'cpu'
        image = picture()
        assert len(detector.detect(image)) == 0 and detector.detect(image).masks.shape[1:] == (
            (60, 80)
        )
        detect, rescore = (detector._graphs.sessions[name] for name in ('detect', 'rescore'))
        outputs = detect.run({'image': network_input(image, 256)})
        outputs['scores'][0, [5, 70, 71]] = [[0, 0.9, 0], [0.6, 0, 0], [0, 0.8, 0]]
        outputs['boxes'][0, [5, 70, 71]] = [
            [0.25, 0.25, 0.75, 0.5],
            [-0.5, 0.5, 0.5, 1.5],
            [0.26, 0.25, 0.75, 0.5],
        ]
        outputs['coefficients'][:] = 0
        outputs['prototypes'][:] = 1
        detect.run = lambda inputs: outputs
        quality = np.array([[1, 0.7, 1], [1, 1, 1]], np.float32)
        rescore.run = lambda inputs: {'ious': quality[: len(inputs['masks'])]}
        found = detector.detect(image)
        # The better class score is multiplied with the quality of its mask.
        assert found.labels == ['dog', 'cup']
        np.testing.assert_allclose(found.scores, [0.9 * 0.7, 0.6])
        np.testing.assert_allclose(found.boxes, [[20, 15, 60, 30], [0, 30, 40, 60]])
        assert not found.masks.any()  # exactly one half is outside
        outputs['coefficients'][:] = 1
        found = detector.detect(image)
        assert found.masks[0, 16:29, 21:59].all() and not found.masks[0, :, 65:].any()
        detector._options = DetectorOptions(min_score=0.62)
        assert detector.detect(image).labels == ['dog']
        detector._wanted = np.array([True, False, False])
        detector._options = options
        assert detector.detect(image).labels == ['cup']


def test_two_people_who_are_tracked_are_both_kept():
    people = np.array([[10, 10, 50, 110], [22, 10, 62, 110]], np.float32)
    boxes = np.concatenate([people, people + 1])
    scores = np.array([[0.9], [0.8], [0.7], [0.6]], np.float32)
    options = DetectorOptions(min_score=0.3, suppression='noh', iou=0.4)
    assert choose(boxes, scores, options).rows.tolist() == [0]
    assert choose(boxes, scores, options, people[:1]).rows.tolist() == [0]
    assert choose(boxes, scores, options, people).rows.tolist() == [0, 1]


@pytest.mark.parametrize('size', [(8, 8), (1, 1), (3, 500)])
def test_small_and_narrow_images(size):
    with Detector.open('plain', 'untrained', 'torch', threads=1) as detector:
        assert detector.detect(picture(*size)).masks.shape[1:] == size
        with pytest.raises(FrameError, match='RGB'):
            detector.detect(np.zeros(size, np.uint8))


@pytest.mark.parametrize(
    ('name', 'other', 'says'),
    [
        ('yolact_resnet50', 'plain', 'do not belong to yolact_resnet50; missing: backbone.layers'),
        ('plain', 'plus', r'do not belong to plain; unknown: .*conv_offset_mask'),
        ('plain', 'darknet', 'do not belong to plain; missing: backbone.conv1.weight'),
    ],
)
def test_weights_of_another_yolact(name, other, says, tmp_path):
    path = weights_of(other, tmp_path / 'other.pth')
    with pytest.raises(WeightsError, match=says):
        Detector.open(name, path, 'torch')


def test_files_that_are_no_weights(tmp_path, exported):
    path, folder = exported('plain')
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match='cut.pth'):
        Detector.open('plain', cut, 'torch')
    with pytest.raises(WeightsError, match='do not exist'):
        Detector.open('plain', tmp_path / 'none.pth')
    with pytest.raises(WeightsError, match='tam weights get yolact_plus_resnet50'):
        Detector.open('yolact_plus_resnet50')
    with pytest.raises(WeightsError, match='are those of plain, .* a checkpoint of darknet'):
        Detector.open('darknet', folder)
    damaged = tmp_path / 'graphs'
    damaged.mkdir()
    spec = (folder / 'model.json').read_text()
    (damaged / 'model.json').write_text(spec.replace('"class_names"', '"classes"'))
    with pytest.raises(WeightsError, match='description of the graphs'):
        Detector.open('plain', damaged)


def test_names_that_are_no_detectors():
    with pytest.raises(catalogue.UnknownModelError, match="no detector 'yolo'.*everything, yola"):
        Detector.open('yolo')
    with pytest.raises(WeightsError, match='efficienttam_nano is a tracker, not a detector'):
        Detector.open('efficienttam_nano')
    with pytest.raises(ValueError, match='plain has no setting points'):
        Detector.open('plain', 'untrained', points=3)
    with pytest.raises(ValueError, match='plus does not know cat; its classes are cup, dog'):
        options = DetectorOptions(classes=('dog', 'cat'))
        Detector.open('plus', 'untrained', 'torch', options=options)
    with pytest.raises(ValueError, match=r'plus does not know persons; did you mean person\?'):
        options = DetectorOptions(classes=('persons',))
        Detector.open('plus', 'untrained', 'torch', options=options)


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'min_score': 1.0}, 'min_score is 1; it must be at least 0 and below 1'),
        ({'suppression': 'adaptive'}, "'adaptive'; choose one of greedy, fast"),
        ({'iou': -0.1}, 'iou is -0.1, not 0 to 1'),
    ],
)
def test_options_out_of_their_range(options, says):
    with pytest.raises(ValueError, match=says):
        DetectorOptions(**options)
