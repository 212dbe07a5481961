# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: points to pixels, and pixels to rays.

Conventions are those of sensor_msgs/CameraInfo and REP 103: the optical frame has x to the right,
y down and z forward; pixel (0, 0) is the centre of the top left pixel; lengths are metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray

FISHEYE = 'equidistant'
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), FISHEYE: (4,)}
"""How many coefficients a distortion model has; names as in sensor_msgs/distortion_models.hpp."""

_NEWTON_STEPS = 4
_STEP = 1e-6
_TOLERANCE_PX = 0.1
"""Beyond this, a ray that was found for a pixel does not lead back to it: it has none."""


class CameraError(ValueError):
    """A calibration that cannot be used; the message tells why."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one image stream.

    Attributes:
        width: of the images, pixels.
        height: of the images, pixels.
        matrix: float64 [3, 3], focal lengths and principal point in pixels of these images.
        model: a name of `COEFFICIENTS`; meaningless without distortion.
        distortion: coefficients in the order of `CameraInfo.d`; empty: none.
        rotation: float64 [3, 3], from the optical frame to that of the image. The identity unless
            the image was rectified together with that of a second camera.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    model: str = 'plumb_bob'
    distortion: tuple[float, ...] = ()
    rotation: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that describe no camera."""
        if self.width < 1 or self.height < 1:
            raise CameraError(f'the calibration is for images of {self.width}x{self.height}')
        numbers = [*np.ravel(self.matrix), *self.distortion]
        if not np.isfinite(numbers).all():
            raise CameraError('the calibration holds numbers that are not finite')
        if self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0:
            raise CameraError('the focal length is not positive: the camera is not calibrated')
        if not self.distortion:
            return
        known = COEFFICIENTS.get(self.model)
        if known is None:
            raise CameraError(
                f'unknown distortion model {self.model!r}; known: {", ".join(COEFFICIENTS)}'
            )
        if len(self.distortion) not in known:
            raise CameraError(
                f'{self.model} has {known[-1]} coefficients, not {len(self.distortion)}'
            )

    @classmethod
    def from_info(cls, info: Any, rectified: bool) -> Camera:
        """Read a sensor_msgs/CameraInfo, or anything with its fields.

        Args:
            info: the message. Its region of interest and binning are taken into account, as the
                matrices are those of the full sensor.
            rectified: whether the images are undistorted already, so that P and R hold, and not K
                and D. The fourth column of P is left out: points are in the image's own frame,
                not in that of a stereo pair's first camera.

        Raises:
            CameraError: not calibrated, an unknown distortion model, numbers that do not fit.
        """
        name, rows = ('P', 4) if rectified else ('K', 3)
        matrix = np.reshape(np.asarray(info.p if rectified else info.k, np.float64), (3, rows))
        matrix = matrix[:, :3].copy()
        if not matrix.any():
            raise CameraError(f'{name} of the camera info is zero: the camera is not calibrated')
        region = info.roi
        bins = np.array([max(1, info.binning_x), max(1, info.binning_y)])
        matrix[:2, 2] -= region.x_offset, region.y_offset
        matrix[:2] /= bins[:, None]
        width, height = region.width or info.width, region.height or info.height
        distortion = () if rectified else tuple(map(float, info.d))
        rotation = np.reshape(np.asarray(info.r, np.float64), (3, 3))
        return cls(
            int(width // bins[0]),
            int(height // bins[1]),
            matrix,
            info.distortion_model,
            distortion if any(distortion) else (),
            # All zero where a driver leaves the field out.
            rotation if rectified and rotation.any() else None,
        )

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the pixels [N, 2] at which points [N, 3] of the optical frame are seen.

        NaN for points that are not in front of the camera, and for those so far to the side that
        the distortion model does not reach them: there its polynomial turns round and would put
        them back into the image. Pixels may lie outside the image; see `contains`.
        """
        xyz = np.asarray(points, np.float64).reshape(-1, 3)
        if self.rotation is not None:
            xyz = xyz @ self.rotation.T
        pixels = np.full((len(xyz), 2), np.nan)
        seen = np.isfinite(xyz).all(1) & (xyz[:, 2] > 0)
        plane = np.full((len(xyz), 2), np.inf)
        np.divide(xyz[:, :2], xyz[:, 2:], out=plane, where=seen[:, None])
        seen &= np.hypot(*plane.T) < self._reach()
        if seen.any():
            pixels[seen] = self._distort(plane[seen])
        return pixels

    def rays(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Return the directions [N, 3] of pixels [N, 2] in the optical frame.

        z is 1 in the frame of the image, so that a ray times a depth (REP 118) is the point.
        NaN where no direction is seen at a pixel.
        """
        xy = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
        if not len(xy):
            return np.zeros((0, 3))
        plane = self._undistort(xy)
        if self.distortion:
            lost = ~(np.hypot(*plane.T) < self._reach())
            plane[lost] = 0
            lost |= np.abs(self._distort(plane) - xy).max(1) > _TOLERANCE_PX
            plane[lost] = np.nan
        rays = np.column_stack((plane, np.ones(len(plane))))
        return rays if self.rotation is None else rays @ self.rotation

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Return for pixels [N, 2] whether they lie in the image; false for NaN."""
        xy = np.asarray(pixels, np.float64).reshape(-1, 2)
        return ((xy >= 0) & (xy <= (self.width - 1, self.height - 1))).all(1)

    def _distort(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels of points of the plane z = 1."""
        coefficients = np.asarray(self.distortion)
        if not self.distortion:
            return plane * self.matrix[[0, 1], [0, 1]] + self.matrix[:2, 2]
        if self.model == FISHEYE:
            return cv2.fisheye.distortPoints(plane[:, None], self.matrix, coefficients)[:, 0]
        xyz = np.column_stack((plane, np.ones(len(plane))))
        still = np.zeros(3)
        return cv2.projectPoints(xyz, still, still, self.matrix, coefficients)[0][:, 0]

    def _undistort(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points of the plane z = 1 that are seen at pixels, where there are any."""
        focal = self.matrix[[0, 1], [0, 1]]
        if not self.distortion:
            return (pixels - self.matrix[:2, 2]) / focal
        arguments = pixels[:, None], self.matrix, np.asarray(self.distortion)
        if self.model == FISHEYE:
            return cv2.fisheye.undistortPoints(*arguments)[:, 0]
        plane = cv2.undistortPoints(*arguments)[:, 0]
        # OpenCV takes five steps, too few for a wide lens, and how to ask for more differs from
        # version to version; Newton's method gets from there to double precision in three.
        for _ in range(_NEWTON_STEPS):
            here = self._distort(plane)
            a, c = ((self._distort(plane + (_STEP, 0)) - here) / _STEP).T
            b, d = ((self._distort(plane + (0, _STEP)) - here) / _STEP).T
            x, y = (pixels - here).T
            with np.errstate(all='ignore'):
                plane = plane + np.column_stack((d * x - b * y, a * y - c * x)) / (
                    a * d - b * c
                ).reshape(-1, 1)
        return plane

    def _reach(self) -> float:
        """Return the distance from the axis, on the plane z = 1, up to which the model is valid.

        That is where the distorted radius stops growing with the true one. Tangential terms, which
        are small, are left out.
        """
        if not self.distortion:
            return math.inf
        if self.model == FISHEYE:
            k = self.distortion
            angle = math.sqrt(_first_root(Polynomial([1, *(np.array(k) * (3, 5, 7, 9))])))
            return math.tan(angle) if angle < math.pi / 2 else math.inf
        k1, k2, _, _, k3, *rest = (*self.distortion, 0.0)[:8]
        above = Polynomial([1, k1, k2, k3])
        below = Polynomial([1, *rest])
        # d/dr of r * above / below, both of s = r * r, less the square of what is below.
        s = Polynomial([0, 1])
        slope = above * below + 2 * s * (above.deriv() * below - above * below.deriv())
        return math.sqrt(min(_first_root(slope), _first_root(below)))


def _first_root(polynomial: Polynomial) -> float:
    """Return the smallest positive real root; infinity where there is none."""
    roots: Sequence[complex] = polynomial.trim().roots()
    real = [root.real for root in map(complex, roots) if abs(root.imag) < 1e-9 and root.real > 0]
    return min(real, default=math.inf)
