# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image mode and everything mode against the official image predictor and mask generator."""

from __future__ import annotations

import kit
import numpy as np
import pytest
import torch

from tam_ros.segmentation import EverythingOptions, Segmenter

NAME = 'efficienttam_ti_512x512'
pytestmark = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/efficienttam) is absent'
)

IOU_TOLERANCE = 1e-5  # what is asked for is 5e-3
LOGIT_TOLERANCE = 2e-4  # 5e-2
PIXELS = 3  # of a mask, whose logits are that close to 0
ALL = {'min_predicted_iou': 0, 'min_stability': 0, 'max_box_iou': 1}


@pytest.fixture(scope='module')
def reference():
    """Return the arrays of the kit."""
    return kit.reference(f'image_mode_{NAME}')


@pytest.fixture(
    scope='module',
    params=[
        'torch',
        pytest.param('onnxruntime', marks=pytest.mark.slow),
        pytest.param('openvino', marks=pytest.mark.slow),
    ],
)
def segmenter(request, reference, tmp_path_factory):
    """Return a segmenter with the kit's weights and image."""
    folder = tmp_path_factory.mktemp('weights')
    state = {key: torch.from_numpy(value) for key, value in kit.state_dict(NAME).items()}
    torch.save({'model': state}, folder / 'kit.pt')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TAM_ROS_CACHE', str(folder))
        with Segmenter.open(NAME, folder / 'kit.pt', request.param, threads=1) as segmenter:
            segmenter.set_image(
                kit.fill().frame(int(reference['seed']), 0, *map(int, reference['size']))
            )
            yield segmenter


def check(found, reference, key):
    ious, low = reference[f'{key}/iou'], reference[f'{key}/low']
    np.testing.assert_allclose(found.predicted_iou, ious, atol=IOU_TOLERANCE)
    np.testing.assert_allclose(found.low_resolution[:, ::4, ::4], low, atol=LOGIT_TOLERANCE)
    assert found.masks.shape == (len(ious), *reference['size'])
    np.testing.assert_allclose(found.masks.sum((1, 2)), reference[f'{key}/area'], atol=PIXELS)


def test_the_embedding(segmenter, reference):
    embedding = segmenter.embedding.handle.without_memory[0, ::16, ::4, ::4]
    np.testing.assert_allclose(embedding, reference['embedding_sample'], atol=1e-4)


def test_points_boxes_and_masks_fed_back(segmenter, reference):
    points, box = reference['points'], reference['box']
    found = segmenter.predict(points[:1], [1], candidates=3)
    check(found, reference, 'point')
    check(segmenter.predict(points, [1, 0], candidates=1), reference, 'points')
    check(segmenter.predict(box=box, candidates=1), reference, 'box')
    check(segmenter.predict(points[:1], [1], box, candidates=3), reference, 'boxpoint')
    best = found.low_resolution[found.best]
    check(segmenter.predict(points, [1, 0], mask=best, candidates=1), reference, 'feedback')


@pytest.mark.parametrize(
    ('key', 'options'),
    [
        ('everything_all', EverythingOptions(4, **ALL)),
        ('everything_filtered', EverythingOptions(4, **{**ALL, 'min_stability': 0.3})),
        ('everything_refined', EverythingOptions(3, **ALL, refine=True, points_per_batch=4)),
    ],
)
def test_everything(segmenter, reference, key, options):
    found = segmenter.everything(options)
    ious = np.array([one.predicted_iou for one in found])
    np.testing.assert_allclose(ious, reference[f'{key}/iou'], atol=IOU_TOLERANCE)
    stability = [one.stability for one in found]
    np.testing.assert_allclose(stability, reference[f'{key}/stability'], atol=3e-4)
    np.testing.assert_allclose(
        [one.area for one in found], reference[f'{key}/area'], atol=PIXELS, rtol=1e-4
    )
    np.testing.assert_allclose([one.point for one in found], reference[f'{key}/point'], atol=1e-3)
    boxes = np.array([one.box for one in found])
    # The official boxes are x, y and the distances to the last column and row.
    official = np.concatenate((boxes[:, :2], boxes[:, 2:] - 1 - boxes[:, :2]), axis=1)
    np.testing.assert_allclose(official, reference[f'{key}/bbox'], atol=1)
