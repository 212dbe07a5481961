# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where things are: a depth image, seen through the camera to which it is registered.

Depth images are those of REP 118: uint16 millimetres or float32 metres along the optical axis; 0,
NaN and infinity say that nothing was measured. Points are in the optical frame of REP 103: x to
the right, y down, z forward, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.spatial.camera import Camera

Depth = NDArray[np.uint16] | NDArray[np.float32]

CLOUD_TYPE = np.dtype([('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('rgb', 'f4'), ('label', 'u4')])
"""One point of a labelled cloud: that of PCL's `PointXYZRGBL`, without its padding.

`rgb` is a float that holds the bits 0x00RRGGBB, as PCL and RViz have it.
"""

_FEW_POINTS = 10
_GRID = 8  # pixels; a divisor of 32, see image_rays
_GOLDEN = (5**0.5 - 1) / 2
_DEVIATIONS = 3.0
_DEVIATION_OF_MAD = 1.4826  # of a normal distribution
_SMALLEST_GATE = 0.01  # metres
_BOX_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class DepthOptions:
    """Which depths count, and how many.

    Attributes:
        nearest: metres; what is not beyond that is a fault of the sensor. 0: all that it gives.
        farthest: metres; what is farther is one, too.
        erosion: pixels that are taken off the edge of a mask, where both are worst.
        points: how many points of an object are looked at, at most. More take time and hardly
            move a median.
    """

    nearest: float = 0.1
    farthest: float = 10.0
    erosion: int = 1
    points: int = 5000


@dataclass(frozen=True, eq=False)
class Place:
    """Where the visible side of an object is, in the optical frame, in metres.

    Attributes:
        position: float64 [3], the median of its points, each coordinate for itself.
        lower: float64 [3], corner of the box along the axes that holds the points that are not
            outliers.
        upper: float64 [3], the opposite corner.
        covariance: float64 [3, 3] of the same points.
        points: how many pixels of it have a depth, outliers included.
    """

    position: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    covariance: NDArray[np.float64]
    points: int

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the box."""
        return (self.lower + self.upper) / 2

    @property
    def extent(self) -> NDArray[np.float64]:
        """Edges of the box."""
        return self.upper - self.lower


def image_rays(camera: Camera) -> NDArray[np.float32]:
    """Return the direction of every pixel, float32 [H, W, 3], as `Camera.rays` gives them.

    Computed on a grid and interpolated between, since a distortion model takes seconds to invert
    for every pixel of a large image. Without distortion that is exact, with the usual lenses it is
    a few hundredths of a pixel.
    """
    rows = np.arange(0, camera.height + _GRID, _GRID)
    columns = np.arange(0, camera.width + _GRID, _GRID)
    pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    grid = camera.rays(pixels).reshape(len(rows), len(columns), 3).astype(np.float32)
    # OpenCV interpolates at multiples of 1/32 of a cell, which all pixels of the grid are.
    x, y = np.meshgrid(
        np.arange(camera.width, dtype=np.float32) / _GRID,
        np.arange(camera.height, dtype=np.float32) / _GRID,
    )
    return cv2.remap(grid, x, y, cv2.INTER_LINEAR)


class DepthView:
    """A depth image and the directions of its pixels."""

    def __init__(
        self, depth: Depth, rays: NDArray[np.float32], options: DepthOptions = DepthOptions()
    ) -> None:
        """Put them together.

        Args:
            depth: uint16 or float32 [H, W]; not copied.
            rays: [H, W, 3], of `image_rays`.
            options: which depths count.

        Raises:
            ValueError: another type, or the sizes differ.
        """
        if depth.dtype not in (np.uint16, np.float32) or depth.shape != rays.shape[:2]:
            raise ValueError(
                f'depth {depth.dtype} {depth.shape} and rays {rays.shape} do not fit together'
            )
        self._depth = depth
        self._rays = rays
        self._options = options
        self._unit = 0.001 if depth.dtype == np.uint16 else 1.0  # metres

    def place(self, mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> Place | None:
        """Return where an object is, or None where nothing was measured of it.

        A mask that is too thin to be eroded is taken whole.

        Args:
            mask: bool [H, W], the object's.
            box: x0, y0, x1, y1 in pixels around the mask; x1 and y1 are outside.
        """
        x0, y0, x1, y1 = map(int, box)
        # One pixel of background all round, except at the edge of the image: that cuts an object
        # off, but its depth there is as good as elsewhere.
        x0, y0 = max(x0 - 1, 0), max(y0 - 1, 0)
        window = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        inside = mask[window]
        measured = self._measured(window, _eroded(inside, self._options.erosion))
        if len(measured) < _FEW_POINTS:
            measured = self._measured(window, inside)
        rows, columns = np.divmod(_sample(measured, self._options.points), inside.shape[1])
        points = self._points((rows + y0) * mask.shape[1] + columns + x0).astype(np.float64)
        points = points[np.isfinite(points[:, 0])]
        return _summarised(points, len(measured)) if len(points) else None

    def cloud(self, labels: NDArray[np.integer], rgb: NDArray[np.uint8]) -> NDArray[np.void]:
        """Return every measured point of every object, as `CLOUD_TYPE` [N].

        Args:
            labels: [H, W], 0 background, else the object id.
            rgb: uint8 [H, W, 3].
        """
        where = self._measured((slice(None), slice(None)), labels > 0)
        points = self._points(where)
        cloud = np.empty(len(where), CLOUD_TYPE)
        for axis, name in enumerate('xyz'):
            cloud[name] = points[:, axis]
        red, green, blue = rgb.reshape(-1, 3).take(where, 0).T.astype(np.uint32)
        cloud['rgb'] = (red << 16 | green << 8 | blue).view(np.float32)
        cloud['label'] = labels.reshape(-1).take(where)
        return cloud[np.isfinite(cloud['x'])]

    def _measured(
        self, window: tuple[slice, slice], inside: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """Return the pixels of a part of a window whose depth counts, as indices into it.

        Args:
            window: rows and columns.
            inside: bool, of the size of the window.
        """
        depth = self._depth[window]
        # In 32 bits, twice as fast; with NaN both comparisons are false.
        nearest = np.float32(self._options.nearest / self._unit)
        farthest = np.float32(self._options.farthest / self._unit)
        return np.flatnonzero(inside & (depth > nearest) & (depth < farthest))

    def _points(self, where: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the points [N, 3] at indices into the whole image."""
        metres = self._depth.reshape(-1).take(where).astype(np.float32) * np.float32(self._unit)
        return self._rays.reshape(-1, 3).take(where, 0) * metres[:, None]


def _sample(where: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return `most` of many, spread evenly, without the steps that would fall in with columns."""
    if len(where) <= most:
        return where
    steps = np.arange(most)
    return where[((steps + steps * _GOLDEN % 1) * (len(where) / most)).astype(np.intp)]


def _eroded(inside: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    if not pixels:
        return inside
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.erode(inside.astype(np.uint8), disc).view(np.bool_)


def _summarised(points: NDArray[np.float64], count: int) -> Place:
    position = np.median(points, 0)
    # Where a mask reaches over the edge of its object, the points lie on what is behind it: far
    # from the others along the axis. The median bears with them, a box and a variance would not.
    away = np.abs(points[:, 2] - position[2])
    gate = max(_DEVIATIONS * _DEVIATION_OF_MAD * float(np.median(away)), _SMALLEST_GATE)
    kept = points[away <= gate]
    lower, upper = np.percentile(kept, _BOX_PERCENTILES, axis=0)
    centred = kept - kept.mean(0)
    return Place(position, lower, upper, centred.T @ centred / len(kept), count)
