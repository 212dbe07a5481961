# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Positions of objects and labelled point clouds from a depth image and its camera.

Depth images are those of REP 118, unless a unit is given: uint16 millimetres or float32 metres
along the optical axis; 0, NaN and infinity mean that nothing was measured. They are registered to
the image: pixel (x, y) of both belongs to the same ray. Points are in the optical frame of REP
103: x to the right, y down, z forward, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.spatial.camera import Camera
from tam_ros.spatial.depth_values import DEFAULTS, Depth, DepthOptions, usable

CLOUD_TYPE = np.dtype([('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('rgb', 'f4'), ('label', 'u4')])
"""One point of a labelled cloud: PCL's `PointXYZRGBL` without its padding.

`rgb` is a float whose bits are 0x00RRGGBB, as PCL and RViz expect.
"""

_MIN_ERODED_POINTS = 10  # with fewer points, the mask is not eroded
_GRID = 8  # pixels; a divisor of 32, see image_rays
_GOLDEN = (5**0.5 - 1) / 2
_OUTLIER_DEVIATIONS = 3.0  # standard deviations from the median depth
_DEVIATION_PER_MAD = 1.4826  # standard deviation per median absolute deviation, if normal
_MIN_GATE = 0.01  # metres; depths this close to the median are never outliers
_BOX_PERCENTILES = (1, 99)


@dataclass(frozen=True, eq=False)
class Location:
    """Position and extent of the visible side of an object, in the optical frame, metres.

    Attributes:
        position: float64 [3], the median of its points per coordinate.
        lower: float64 [3], lower corner of the axis-aligned box around its points without
            outliers.
        upper: float64 [3], the opposite corner.
        covariance: float64 [3, 3] of the same points, square metres.
        points: number of its pixels that have a depth, including outliers.
    """

    position: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    covariance: NDArray[np.float64]
    points: int

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre of the box, float64 [3]."""
        return (self.lower + self.upper) / 2

    @property
    def extent(self) -> NDArray[np.float64]:
        """Edge lengths of the box, float64 [3]."""
        return self.upper - self.lower


def image_rays(camera: Camera) -> NDArray[np.float32]:
    """Return the ray of every pixel, float32 [H, W, 3], see `Camera.rays`.

    The rays are computed on a grid and interpolated, since inverting a distortion model for every
    pixel of a large image takes seconds. That is exact without distortion; for common lenses the
    error is a few hundredths of a pixel.
    """
    rows = np.arange(0, camera.height + _GRID, _GRID)
    columns = np.arange(0, camera.width + _GRID, _GRID)
    pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    grid = camera.rays(pixels).reshape(len(rows), len(columns), 3).astype(np.float32)
    # OpenCV interpolates at multiples of 1/32 of a cell: every pixel is at one of them.
    x, y = np.meshgrid(
        np.arange(camera.width, dtype=np.float32) / _GRID,
        np.arange(camera.height, dtype=np.float32) / _GRID,
    )
    return np.asarray(cv2.remap(grid, x, y, cv2.INTER_LINEAR), np.float32)


class DepthView:
    """A depth image and the rays of its pixels.

    Attributes:
        options: which depths are used.
    """

    def __init__(
        self, depth: Depth, rays: NDArray[np.float32], options: DepthOptions = DEFAULTS
    ) -> None:
        """Check that the arrays fit together.

        Args:
            depth: uint16 or float32 [H, W]; not copied.
            rays: [H, W, 3], of `image_rays`.
            options: which depths are used.

        Raises:
            ValueError: the depth has another type, or the sizes differ.
        """
        if depth.dtype not in (np.uint16, np.float32) or depth.shape != rays.shape[:2]:
            raise ValueError(
                f'depth {depth.dtype} {depth.shape} and rays {rays.shape} do not fit together'
            )
        self._depth = depth
        self._rays = rays
        self.options = options
        self._unit = options.metres(depth.dtype)

    def locate(self, mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> Location | None:
        """Return the position of an object; None if none of its pixels has a depth.

        A mask that is too thin to be eroded is used as it is.

        Args:
            mask: bool [H, W], of the object.
            box: (x0, y0, x1, y1) of the mask in pixels, x1 and y1 exclusive.
        """
        x0, y0, x1, y1 = map(int, box)
        # One pixel of background on all sides, so that the mask is eroded there. Not at the edge
        # of the image, which cuts the object but does not make its depth less accurate.
        x0, y0 = max(x0 - 1, 0), max(y0 - 1, 0)
        window = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        inside = mask[window]
        measured = self._measured(window, _eroded(inside, self.options.erosion))
        if len(measured) < _MIN_ERODED_POINTS:
            measured = self._measured(window, inside)
        rows, columns = np.divmod(_sample(measured, self.options.points), inside.shape[1])
        points = self._points((rows + y0) * mask.shape[1] + columns + x0).astype(np.float64)
        points = points[np.isfinite(points[:, 0])]
        return _summarise(points, len(measured)) if len(points) else None

    def cloud(self, labels: NDArray[np.integer], rgb: NDArray[np.uint8]) -> NDArray[np.void]:
        """Return all measured points of all objects, as `CLOUD_TYPE` [N].

        Args:
            labels: [H, W]: 0 is background, other values are object ids.
            rgb: the image, uint8 [H, W, 3].
        """
        where = self._measured((slice(None), slice(None)), labels > 0)
        points = self._points(where)
        cloud = np.empty(len(where), CLOUD_TYPE)
        for axis, name in enumerate('xyz'):
            cloud[name] = points[:, axis]
        red, green, blue = rgb.reshape(-1, 3).take(where, 0).T.astype(np.uint32)
        cloud['rgb'] = (red << 16 | green << 8 | blue).view(np.float32)
        cloud['label'] = labels.reshape(-1).take(where)
        finite: NDArray[np.void] = cloud[np.isfinite(cloud['x'])]
        return finite

    def _measured(
        self, window: tuple[slice, slice], inside: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """Return the pixels with a usable depth, as flat indices into a window.

        Args:
            window: rows and columns of the image.
            inside: bool, of the size of the window: the pixels to consider.
        """
        return np.flatnonzero(inside & usable(self._depth[window], self.options))

    def _points(self, where: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the points [N, 3] of pixels given as flat indices into the image."""
        metres = self._depth.reshape(-1).take(where).astype(np.float32) * np.float32(self._unit)
        points: NDArray[np.float32] = self._rays.reshape(-1, 3).take(where, 0) * metres[:, None]
        return points


def _sample(where: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return at most `count` of the pixels, spread evenly.

    The golden-ratio offsets keep the steps from coinciding with the columns of the mask.
    """
    if len(where) <= count:
        return where
    steps = np.arange(count)
    return where[((steps + steps * _GOLDEN % 1) * (len(where) / count)).astype(np.intp)]


def _eroded(inside: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    if not pixels:
        return inside
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.erode(inside.astype(np.uint8), disc).view(np.bool_)


def _summarise(points: NDArray[np.float64], count: int) -> Location:
    position = np.median(points, 0)
    # Where a mask extends beyond its object, its points are on the background, at another depth.
    # They hardly change the median, but would change the box and the covariance.
    distance = np.abs(points[:, 2] - position[2])
    gate = max(_OUTLIER_DEVIATIONS * _DEVIATION_PER_MAD * float(np.median(distance)), _MIN_GATE)
    kept = points[distance <= gate]
    lower, upper = np.percentile(kept, _BOX_PERCENTILES, axis=0)
    centred = kept - kept.mean(0)
    return Location(position, lower, upper, centred.T @ centred / len(kept), count)
