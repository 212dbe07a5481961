# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Positions and clouds from depth images: synthetic scenes with known truth, and real ones."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from tam_ros.spatial import CLOUD_TYPE, Camera, DepthOptions, DepthView, image_rays

SIZE = HEIGHT, WIDTH = 120, 160
MATRIX = np.array([[150.0, 0, 79.5], [0, 150, 59.5], [0, 0, 1]])
CAMERA = Camera(WIDTH, HEIGHT, MATRIX)
RAYS = image_rays(CAMERA)
BOX = (40, 30, 80, 90)


def scene(near=1.0, far=3.0, box=BOX, dtype=np.float32):
    """Return the depth and the mask of a plate that faces the camera in front of a wall."""
    x0, y0, x1, y1 = box
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    depth = np.where(mask, near, far)
    return (depth * 1000 if dtype == np.uint16 else depth).astype(dtype), mask


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize('dtype', [np.uint16, np.float32])
def test_a_plate_in_front_of_a_wall(dtype):
    depth, mask = scene(dtype=dtype)
    location = DepthView(depth, RAYS, DepthOptions(erosion=0)).locate(mask, BOX)
    middle = [(59.5 - 79.5) / 150, (59.5 - 59.5) / 150, 1.0]
    assert location.position == pytest.approx(middle, abs=1e-6)
    assert location.centre == pytest.approx(middle, abs=1e-6)
    assert location.extent == pytest.approx([39 / 150, 59 / 150, 0], rel=0.03, abs=1e-6)
    assert location.points == mask.sum()
    # The variance of a uniform distribution is the square of its length divided by 12.
    assert np.diag(location.covariance) == pytest.approx(
        [(40 / 150) ** 2 / 12, (60 / 150) ** 2 / 12, 0], rel=1e-2, abs=1e-9
    )
    assert (location.covariance == location.covariance.T).all()


@pytest.mark.parametrize(
    'hole',
    [0.0, np.nan, np.inf, -np.inf, 0.05, 11.0],
    ids=['0', 'nan', 'inf', '-inf', 'too near', 'too far'],
)
def test_pixels_without_a_depth_are_ignored(hole):
    depth, mask = scene()
    depth[30:50] = hole
    location = DepthView(depth, RAYS, DepthOptions(erosion=0)).locate(mask, BOX)
    assert location.points == 40 * 40
    assert location.position[2] == 1.0
    assert location.position[1] == pytest.approx((69.5 - 59.5) / 150, abs=1e-6)
    depth[:] = hole
    assert DepthView(depth, RAYS).locate(mask, BOX) is None


def test_zero_is_no_depth_even_without_a_limit():
    depth, mask = scene(dtype=np.uint16)
    depth[30:50] = 0
    assert DepthView(depth, RAYS, DepthOptions(0.0, 10.0, 0)).locate(mask, BOX).points == 40 * 40


def test_a_mask_that_extends_beyond_its_object():
    """A fifth of it is on the wall; position, box and covariance are those of the plate."""
    depth, plate = scene()
    mask = plate.copy()
    mask[30:90, 80:90] = True
    truth = DepthView(depth, RAYS, DepthOptions(erosion=0)).locate(plate, BOX)
    location = DepthView(depth, RAYS, DepthOptions(erosion=0)).locate(mask, box_of(mask))
    assert location.position[2] == 1.0
    assert location.points == mask.sum()
    assert location.extent == pytest.approx(truth.extent, rel=1e-3)
    assert location.covariance == pytest.approx(truth.covariance, rel=1e-3)


def test_erosion_removes_the_edge():
    """The depth of two pixels along the edge is between those of plate and wall."""
    depth, mask = scene()
    depth[mask & ~cv2.erode(mask.astype(np.uint8), np.ones((5, 5))).astype(bool)] = 1.008
    whole = DepthView(depth, RAYS, DepthOptions(erosion=0)).locate(mask, BOX)
    inner = DepthView(depth, RAYS, DepthOptions(erosion=3)).locate(mask, BOX)
    assert whole.extent[2] == pytest.approx(0.008, abs=1e-6)
    assert inner.extent[2] == pytest.approx(0, abs=1e-6)
    assert inner.points == pytest.approx(34 * 54, abs=20), (
        'without the corners, as the structuring element is a disc'
    )


def test_the_edge_of_the_image_is_not_an_edge_of_the_object():
    depth, mask = scene(box=(0, 0, 20, 20))
    location = DepthView(depth, RAYS, DepthOptions(erosion=5)).locate(mask, (0, 0, 20, 20))
    assert location.points == pytest.approx(15 * 15, abs=15)
    assert location.lower[0] == pytest.approx(-79.5 / 150, abs=0.01)


def test_a_thin_mask_is_not_eroded():
    depth, mask = scene(box=(40, 60, 100, 62))
    location = DepthView(depth, RAYS, DepthOptions(erosion=3)).locate(mask, (40, 60, 100, 62))
    assert location.points == 120
    assert location.position[2] == 1.0


def test_many_points_are_sampled():
    rays = image_rays(Camera(400, 300, MATRIX))
    mask = np.ones((300, 400), bool)
    location = DepthView(np.ones((300, 400), np.float32), rays).locate(mask, (0, 0, 400, 300))
    assert location.points == 120_000
    middle = [(199.5 - 79.5) / 150, (149.5 - 59.5) / 150]
    assert location.position[:2] == pytest.approx(middle, abs=1 / 150), 'within one pixel'
    assert location.extent[:2] == pytest.approx([400 / 150, 300 / 150], rel=0.03)


def test_one_pixel_with_a_depth_is_enough():
    depth, mask = scene()
    depth[:] = 0
    depth[60, 60] = 2.0
    location = DepthView(depth, RAYS).locate(mask, BOX)
    assert location.points == 1
    assert location.position == pytest.approx(RAYS[60, 60] * 2)
    assert not location.extent.any()
    assert not location.covariance.any()


@pytest.mark.parametrize(
    ('depth', 'rays'),
    [
        pytest.param(np.zeros(SIZE, np.float64), RAYS, id='64-bit depth'),
        pytest.param(np.zeros((HEIGHT, WIDTH - 1), np.float32), RAYS, id='another size'),
    ],
)
def test_inconsistent_arrays_are_refused(depth, rays):
    with pytest.raises(ValueError, match='do not fit'):
        DepthView(depth, rays)


# Each row: a lens, and the largest error of an interpolated ray in pixels.
@pytest.mark.parametrize(
    ('model', 'distortion', 'pixels'),
    [
        pytest.param('plumb_bob', (), 1e-3, id='none'),
        pytest.param('plumb_bob', (-0.28, 0.09, 0.001, -0.0005, -0.01), 0.05, id='plumb bob'),
        pytest.param('equidistant', (-0.02, 0.004, -0.003, 0.0006), 0.1, id='equidistant'),
    ],
)
def test_rays_of_all_pixels(model, distortion, pixels):
    matrix = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
    camera = Camera(643, 481, matrix, model, distortion)
    rays = image_rays(camera)
    assert rays.shape == (481, 643, 3)
    places = np.stack(np.meshgrid(np.arange(0, 643, 13), np.arange(0, 481, 11)), -1).reshape(-1, 2)
    exact = camera.rays(places)
    assert np.isfinite(exact).all()
    found = rays[places[:, 1], places[:, 0]]
    assert np.abs(found - exact).max() * 500 < pixels


def test_a_cloud_has_position_colour_and_label():
    depth, mask = scene(dtype=np.uint16)
    depth[30:40] = 0
    labels = np.where(mask, 300, 0).astype(np.uint16)
    labels[50, 100] = 7
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[mask] = (1, 2, 255)
    cloud = DepthView(depth, RAYS).cloud(labels, rgb)
    assert cloud.dtype == CLOUD_TYPE
    assert len(cloud) == 50 * 40 + 1
    assert set(cloud['label']) == {7, 300}
    point = cloud[(cloud['label'] == 300)][0]
    assert [point['x'], point['y'], point['z']] == pytest.approx(RAYS[40, 40] * 1.0)
    assert point['rgb'].view(np.uint32) == 0x0102FF
    assert cloud[cloud['label'] == 7]['z'] == pytest.approx(3.0)
    assert not len(DepthView(depth, RAYS).cloud(np.zeros(SIZE, np.uint16), rgb))


def test_pixels_without_a_ray_are_ignored():
    depth, mask = scene()
    rays = RAYS.copy()
    rays[:60] = np.nan
    view = DepthView(depth, rays, DepthOptions(erosion=0))
    assert view.locate(mask, BOX).lower[1] == pytest.approx(0.5 / 150, abs=0.01)
    assert np.isfinite(
        view.cloud(mask.astype(np.uint8), np.zeros((*SIZE, 3), np.uint8))['x']
    ).all()


# --- real ---


@pytest.fixture(scope='module')
def shelf(shared_data):
    """Eight views of a shelf: rays, depth and labels of each frame, and the reference."""
    folder = shared_data / 'rgbd' / 'apc_scene0000'
    about = json.loads((folder / 'camera.json').read_text())
    camera = Camera(about['width'], about['height'], np.array(about['K_color']))
    frames = {
        number: [
            cv2.imread(str(folder / name / f'{number:05d}.png'), cv2.IMREAD_UNCHANGED)
            for name in ('depth_mm', 'fcn_labels')
        ]
        for number in about['frames']
    }
    reference = json.loads((folder / 'reference_3d.json').read_text())['labels']
    return image_rays(camera), frames, reference


def deviations(shelf, options):
    """Return the error of each position in metres, and its number of points, ours and true."""
    rays, frames, reference = shelf
    found = []
    for label, entry in reference.items():
        for truth in entry['frames']:
            depth, labels = frames[truth['frame']]
            mask = labels == int(label)
            location = DepthView(depth, rays, options).locate(mask, box_of(mask))
            error = np.abs(location.position - truth['median_camera_m']).max()
            found.append((error, location.points, truth['points']))
    return np.array(found).T


def test_real_positions_equal_the_reference(shelf):
    """The pixels and depths are the same; the reference is rounded to 0.1 mm."""
    error, points, truth = deviations(shelf, DepthOptions(0.2, 1.5, 0, points=10**6))
    assert len(error) == 31
    assert error.max() < 1e-4
    assert (points == truth).all()


def test_erosion_moves_real_positions_little(shelf):
    """With the default options, which also use fewer points.

    The reference is that of whole masks, and the median of an eroded mask of a slanted surface
    differs from it. One mask covers two objects, and its median is between them.
    """
    error, _, _ = deviations(shelf, DepthOptions())
    assert np.median(error) < 0.002
    assert (error < 0.005).sum() >= 29
    assert (error < 0.0065).sum() >= 30
