# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Projection to pixels and back, against the formulas of the distortion models."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tam_ros.spatial import Camera, CameraError

MATRIX = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
PLUMB_BOB = (-0.28, 0.09, 0.001, -0.0005, -0.01)
RATIONAL = (8.2, 5.4, 2e-4, -1e-4, 0.25, 8.5, 7.9, 1.3)  # typical of depth cameras
EQUIDISTANT = (-0.02, 0.004, -0.003, 0.0006)


def camera(model='plumb_bob', distortion=(), **fields):
    return Camera(640, 480, MATRIX, model, distortion, **fields)


def by_hand(model, k, point):
    """Project one point as docs.opencv.org and sensor_msgs/CameraInfo define the models."""
    x, y = point[0] / point[2], point[1] / point[2]
    r = math.hypot(x, y)
    if model == 'equidistant':
        theta = math.atan(r)
        bent = theta * (1 + sum(c * theta ** (2 * i + 2) for i, c in enumerate(k)))
        x, y = x * bent / r, y * bent / r
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*k, 0, 0, 0)[:8]
        scale = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
        scale /= 1 + k4 * r**2 + k5 * r**4 + k6 * r**6
        x, y = (
            x * scale + 2 * p1 * x * y + p2 * (r**2 + 2 * x * x),
            y * scale + p1 * (r**2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return 500 * x + 320, 510 * y + 240


THIN_PRISM = (*RATIONAL, 0.002, -0.001, 0.0015, 0.0004)
TILTED = (*THIN_PRISM, 0.01, -0.02)

MODELS = [
    pytest.param('plumb_bob', PLUMB_BOB, id='plumb_bob'),
    pytest.param('plumb_bob', PLUMB_BOB[:4], id='four coefficients'),
    pytest.param('rational_polynomial', RATIONAL, id='rational'),
    pytest.param('equidistant', EQUIDISTANT, id='fisheye'),
]


@pytest.mark.parametrize(('model', 'distortion'), MODELS)
def test_points_are_projected_as_the_model_says(model, distortion):
    points = [(0.3, -0.2, 1.0), (-0.9, 0.5, 2.5), (0.01, 0.02, 0.4)]
    expected = [by_hand(model, (*distortion, 0)[:8], point) for point in points]
    assert camera(model, distortion).project(points) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ('model', 'distortion'),
    [
        pytest.param('', (), id='none'),
        pytest.param('equidistant', (0.0,) * 4, id='ideal fisheye'),
        pytest.param('rational_polynomial', THIN_PRISM, id='thin prism'),
        pytest.param('rational_polynomial', TILTED, id='tilted sensor'),
        *MODELS,
    ],
)
def test_a_ray_is_projected_to_its_pixel(model, distortion):
    """In the whole image, including its corners."""
    lens = camera(model, distortion)
    grid = np.stack(np.meshgrid(np.linspace(0, 639, 9), np.linspace(0, 479, 7)), -1).reshape(-1, 2)
    rays = lens.rays(grid)
    assert (rays[:, 2] == 1).all()
    assert lens.project(rays * 3.0) == pytest.approx(grid, abs=1e-6)


def test_points_that_are_not_in_front_have_no_pixel():
    points = [(0, 0, -1), (0, 0, 0), (0.1, 0, -2), (math.nan, 0, 1), (math.inf, 0, 1)]
    assert np.isnan(camera(distortion=PLUMB_BOB).project(points)).all()


def test_a_point_far_to_the_side_is_not_folded_back_into_the_image():
    """The polynomial of this lens decreases beyond 1.09 and is zero at 1.89."""
    barrel = (-0.28, 0.0, 0.0, 0.0, 0.0)
    x = 1.85
    assert camera().contains([by_hand('plumb_bob', barrel, (x, 0, 1))]), (
        'the bare formula puts it into the image'
    )
    assert np.isnan(camera(distortion=barrel).project([(x, 0, 1)])).all()
    edge = math.sqrt(1 / (3 * 0.28))
    assert np.isfinite(camera(distortion=barrel).project([(edge - 0.01, 0, 1)])).all()
    assert np.isnan(camera(distortion=barrel).project([(edge + 0.01, 0, 1)])).all()


def test_a_pixel_outside_the_range_of_the_model_has_no_ray():
    barrel = camera(distortion=(-0.9, 0.0, 0.0, 0.0))
    rays = barrel.rays([(320, 240), (639, 479)])
    assert rays[0].tolist() == [0, 0, 1]
    assert np.isnan(rays[1, :2]).all()


def test_a_fisheye_lens_sees_far_to_the_side():
    lens = Camera(
        640, 480, np.array([[180.0, 0, 320], [0, 180, 240], [0, 0, 1]]), 'equidistant', EQUIDISTANT
    )
    far = math.tan(math.radians(80))
    (pixel,) = lens.project([(far, 0, 1)])
    assert lens.contains([pixel])
    assert lens.rays([pixel]) == pytest.approx(np.array([[far, 0, 1]]), rel=1e-5)


def test_a_fisheye_lens_does_not_fold_points_back():
    """theta - 0.2 theta^3 increases up to theta = 1.29, which is 74 degrees."""
    lens = camera('equidistant', (-0.2, 0.0, 0.0, 0.0))
    inside, beyond = (math.tan(math.radians(angle)) for angle in (73, 75))
    assert np.isfinite(lens.project([(inside, 0, 1)])).all()
    assert np.isnan(lens.project([(beyond, 0, 1)])).all()


def test_the_image_ends_at_the_centres_of_its_border_pixels():
    pixels = [(0, 0), (639, 479), (-0.1, 5), (639.1, 5), (5, 479.5), (math.nan, 5)]
    assert camera().contains(pixels).tolist() == [True, True, False, False, False, False]


def info(**fields):
    """The camera info of a raw 640x480 image."""
    projection = [400.0, 0, 310, -40, 0, 400, 230, 0, 0, 0, 1, 0]
    made = {
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': list(PLUMB_BOB),
        'k': MATRIX.ravel(),
        'r': np.eye(3).ravel(),
        'p': projection,
        'binning_x': 0,
        'binning_y': 0,
        'roi': SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**{**made, **fields})


def test_a_raw_image_is_described_by_k_and_d():
    read = Camera.from_info(info(), rectified=False)
    assert (read.width, read.height, read.model) == (640, 480, 'plumb_bob')
    assert (read.matrix == MATRIX).all()
    assert read.distortion == PLUMB_BOB


def test_a_rectified_image_is_described_by_p_and_r():
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    read = Camera.from_info(info(r=turn.ravel()), rectified=True)
    assert read.matrix.tolist() == [[400, 0, 310], [0, 400, 230], [0, 0, 1]]
    assert read.distortion == ()
    ahead = turn.T @ (0, 0, 2)  # on the optical axis of the rectified image
    assert read.project([ahead]) == pytest.approx(np.array([[310, 230]]))
    (ray,) = read.rays([(310, 230)])
    assert turn @ ray == pytest.approx([0, 0, 1])


def test_region_of_interest_and_binning():
    """The matrices of sensor_msgs/CameraInfo are those of the full sensor."""
    region = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=320)
    read = Camera.from_info(info(roi=region, binning_x=2, binning_y=2), rectified=False)
    full = Camera.from_info(info(), rectified=False)
    assert (read.width, read.height) == (200, 160)
    points = [(0.1, -0.1, 1.0)]
    assert read.project(points) == pytest.approx((full.project(points) - (100, 40)) / 2)


def test_without_distortion_the_model_needs_no_name():
    assert Camera.from_info(info(distortion_model='', d=[]), False).distortion == ()
    assert Camera.from_info(info(distortion_model='none', d=[0.0] * 5), False).distortion == ()


K5 = (0.02, -0.05, 0.001, 0.001, 0.01)
K8 = (*K5, 0.1, 0.2, 0.3)


# Each row: name and coefficients that drivers send, and what they mean to OpenCV.
@pytest.mark.parametrize(
    ('name', 'sent', 'model', 'used'),
    [
        pytest.param('plumb_bob', (*K5, 0, 0, 0), 'plumb_bob', K5, id='filled up to eight'),
        pytest.param('plumb_bob', K8, 'rational_polynomial', K8, id='eight under the old name'),
        pytest.param('plumb_bob', (0.1,), 'plumb_bob', (0.1, 0, 0, 0), id='one'),
        pytest.param('plumb_bob', (0.1, 0.2), 'plumb_bob', (0.1, 0.2, 0, 0), id='two'),
        pytest.param('plumb_bob', (0.0,) * 8, 'plumb_bob', (), id='zeros'),
        pytest.param('rational_polynomial', K5, 'plumb_bob', K5, id='five as rational'),
        pytest.param('rational_polynomial', (*K5, *[0] * 7), 'plumb_bob', K5, id='five of 12'),
        pytest.param('rational_polynomial', (*K5, *[0] * 9), 'plumb_bob', K5, id='five of 14'),
        pytest.param('rational_polynomial', TILTED, 'rational_polynomial', TILTED, id='14'),
        pytest.param(
            'rational_polynomial',
            (*THIN_PRISM[:9], 0, 0, 0, 0, 0),
            'rational_polynomial',
            (*THIN_PRISM[:9], 0, 0, 0),
            id='nine of 14',
        ),
        pytest.param('', K5, 'plumb_bob', K5, id='no name'),
        pytest.param('Brown-Conrady', K5, 'plumb_bob', K5, id='authors'),
        pytest.param('BROWN_CONRADY', K5, 'plumb_bob', K5, id='authors in capitals'),
        pytest.param('Plumb Bob', K5, 'plumb_bob', K5, id='with a space'),
        pytest.param('none', K5, 'plumb_bob', (), id='none'),
        pytest.param('None', (0.0,) * 5, 'plumb_bob', (), id='None'),
        pytest.param('fisheye', EQUIDISTANT, 'equidistant', EQUIDISTANT, id='fisheye'),
        pytest.param('Fisheye', (*EQUIDISTANT, 0), 'equidistant', EQUIDISTANT, id='one zero more'),
        pytest.param('kannala_brandt4', (0.1,), 'equidistant', (0.1, 0, 0, 0), id='one of four'),
        pytest.param('equidistant', (0.0,) * 4, 'equidistant', (0.0,) * 4, id='ideal fisheye'),
        pytest.param('equidistant', (), 'plumb_bob', (), id='fisheye without coefficients'),
    ],
)
def test_every_way_to_write_a_distortion(name, sent, model, used):
    read = Camera.from_info(info(distortion_model=name, d=list(sent)), rectified=False)
    assert (read.model, read.distortion) == (model, used)


# Each row: invalid fields of a camera info, and a part of the error message.
@pytest.mark.parametrize(
    ('fields', 'rectified', 'words'),
    [
        pytest.param({'k': [0.0] * 9}, False, 'K of the camera info is zero', id='no K'),
        pytest.param({'p': [0.0] * 12}, True, 'P of the camera info is zero', id='no P'),
        pytest.param({'distortion_model': 'mystery'}, False, "'mystery'", id='unknown model'),
        pytest.param({'d': [0.1] * 15}, False, 'at most 14', id='too many'),
        pytest.param(
            {'d': [0.1] * 5, 'distortion_model': 'fisheye'}, False, 'at most 4', id='fisheye'
        ),
        pytest.param(
            {'distortion_model': 'inverse_brown_conrady'},
            False,
            'another formula',
            id='the inverse formula',
        ),
        pytest.param({'k': [math.nan] * 9}, False, 'not finite', id='not numbers'),
        pytest.param({'k': [-1.0, *[0.0] * 8]}, False, 'focal length', id='negative focal length'),
        pytest.param({'width': 0}, False, '0x480', id='no size'),
    ],
)
def test_unusable_calibrations_are_refused(fields, rectified, words):
    with pytest.raises(CameraError, match=words):
        Camera.from_info(info(**fields), rectified)


def test_empty_arrays():
    lens = camera(distortion=PLUMB_BOB)
    assert lens.rays(np.zeros((0, 2))).shape == (0, 3)
    assert lens.project(np.zeros((0, 3))).shape == (0, 2)


def test_the_position_of_an_object_is_projected_onto_it_in_every_view(shared_data):
    """Eight real views: the median of each object in the world, through pose and intrinsics."""
    folder = shared_data / 'rgbd' / 'apc_scene0000'
    calibration = json.loads((folder / 'camera.json').read_text())
    reference = json.loads((folder / 'reference_3d.json').read_text())['labels']
    lens = Camera(calibration['width'], calibration['height'], np.array(calibration['K_color']))
    compared = 0
    for label, places in reference.items():
        for frame in (place['frame'] for place in places['frames']):
            image = str(folder / 'fcn_labels' / f'{frame:05d}.png')
            labels = cv2.imread(image, cv2.IMREAD_UNCHANGED)
            pose = np.array(calibration['camera_to_world'][str(frame)])
            (pixel,) = lens.project(pose[:3, :3].T @ (places['world_median'] - pose[:3, 3]))
            column, row = np.rint(pixel).astype(int)
            assert labels[row, column] == int(label), (frame, label)
            compared += 1
    assert compared > 30
