# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: projects points to pixels and pixels to rays.

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

from tam_ros.spatial.distortion import (
    COEFFICIENTS,
    FISHEYE,
    PLUMB_BOB,
    DistortionError,
    known_distortion,
)

_NEWTON_STEPS = 4
_STEP = 1e-6
_TOLERANCE_PX = 0.1
"""A pixel has no ray if the ray computed for it projects farther than this from it."""


class CameraError(ValueError):
    """A calibration that cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one image stream.

    Attributes:
        width: width of the images, pixels.
        height: height of the images, pixels.
        matrix: float64 [3, 3], focal lengths and principal point in pixels of these images.
        model: distortion model, a key of `COEFFICIENTS`; not used without distortion.
        distortion: coefficients in the order of `CameraInfo.d`; empty: none.
        rotation: float64 [3, 3], from the optical frame to that of the image; None for the
            identity. It is set if the image was rectified together with that of a second camera.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    model: str = PLUMB_BOB
    distortion: tuple[float, ...] = ()
    rotation: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.width < 1 or self.height < 1:
            raise CameraError(f'the calibration is for images of {self.width}x{self.height}')
        numbers = [*np.ravel(self.matrix), *self.distortion]
        if not np.isfinite(numbers).all():
            raise CameraError('the calibration contains numbers that are not finite')
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
                f'{self.model} has {" or ".join(map(str, known))} coefficients, not '
                f'{len(self.distortion)}'
            )

    @classmethod
    def from_info(cls, info: Any, rectified: bool) -> Camera:
        """Create a camera from a sensor_msgs/CameraInfo, or from any object with its fields.

        Args:
            info: the message. Its region of interest and binning are applied, since its matrices
                are those of the full sensor.
            rectified: whether the images are rectified, so that P and R apply instead of K and D.
                The fourth column of P is ignored: points are in the frame of this image, not in
                that of the first camera of a stereo pair.

        Raises:
            CameraError: the camera is not calibrated, the distortion model is unknown (see
                `known_distortion`), or the numbers are inconsistent.
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
        try:
            model, distortion = (
                (PLUMB_BOB, ()) if rectified else known_distortion(info.distortion_model, info.d)
            )
        except DistortionError as error:
            raise CameraError(str(error)) from error
        rotation = np.reshape(np.asarray(info.r, np.float64), (3, 3))
        return cls(
            int(width // bins[0]),
            int(height // bins[1]),
            matrix,
            model,
            distortion,
            # All zero if the driver does not set the field.
            rotation if rectified and rotation.any() else None,
        )

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Project points [N, 3] of the optical frame, metres, to pixels [N, 2].

        NaN for points that are not in front of the camera, and for those outside the valid range
        of the distortion model, where its polynomial decreases and would project them back into
        the image. Pixels may lie outside the image; see `contains`.
        """
        xyz = np.asarray(points, np.float64).reshape(-1, 3)
        if self.rotation is not None:
            xyz = xyz @ self.rotation.T
        pixels = np.full((len(xyz), 2), np.nan)
        seen = np.isfinite(xyz).all(1) & (xyz[:, 2] > 0)
        plane = np.full((len(xyz), 2), np.inf)
        np.divide(xyz[:, :2], xyz[:, 2:], out=plane, where=seen[:, None])
        seen &= np.hypot(*plane.T) < self._valid_radius()
        if seen.any():
            pixels[seen] = self._distort(plane[seen])
        return pixels

    def rays(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Return the directions [N, 3] of pixels [N, 2] in the optical frame.

        z is 1 in the frame of the image, so that a ray times its depth (REP 118) is the point.
        NaN for pixels that the distortion model maps no direction to.
        """
        xy = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
        if not len(xy):
            return np.zeros((0, 3))
        plane = self._undistort(xy)
        if self.distortion:
            no_ray = ~(np.hypot(*plane.T) < self._valid_radius())
            plane[no_ray] = 0
            no_ray |= np.abs(self._distort(plane) - xy).max(1) > _TOLERANCE_PX
            plane[no_ray] = np.nan
        rays = np.column_stack((plane, np.ones(len(plane))))
        return rays if self.rotation is None else rays @ self.rotation

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Return whether pixels [N, 2] are inside the image, as bool [N]; false for NaN."""
        xy = np.asarray(pixels, np.float64).reshape(-1, 2)
        inside: NDArray[np.bool_] = np.all(
            (xy >= 0) & (xy <= (self.width - 1, self.height - 1)), axis=1
        )
        return inside

    def _distort(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project points [N, 2] of the plane z = 1 to pixels."""
        coefficients = np.asarray(self.distortion)
        if not self.distortion:
            return plane * self.matrix[[0, 1], [0, 1]] + self.matrix[:2, 2]
        if self.model == FISHEYE:
            pixels = cv2.fisheye.distortPoints(plane[:, None], self.matrix, coefficients)
            return np.asarray(pixels[:, 0], np.float64)
        xyz = np.column_stack((plane, np.ones(len(plane))))
        zero = np.zeros(3)  # neither rotation nor translation
        pixels, _ = cv2.projectPoints(xyz, zero, zero, self.matrix, coefficients)
        return np.asarray(pixels[:, 0], np.float64)

    def _undistort(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points [N, 2] of the plane z = 1 that project to pixels, if they exist."""
        focal = self.matrix[[0, 1], [0, 1]]
        if not self.distortion:
            return np.asarray((pixels - self.matrix[:2, 2]) / focal, np.float64)
        arguments = pixels[:, None], self.matrix, np.asarray(self.distortion)
        if self.model == FISHEYE:
            return np.asarray(cv2.fisheye.undistortPoints(*arguments)[:, 0], np.float64)
        plane = np.asarray(cv2.undistortPoints(*arguments)[:, 0], np.float64)
        # OpenCV runs five iterations, too few for a wide lens, and the way to request more differs
        # between versions. From its result, Newton's method reaches double precision in three.
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

    def _valid_radius(self) -> float:
        """Return the radius on the plane z = 1 up to which the distortion model is valid.

        Beyond it the distorted radius decreases as the true radius grows. Tangential terms are
        small and are neglected.
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
        # Numerator of d/dr of r * above / below, where both are polynomials in s = r * r.
        s = Polynomial([0, 1])
        slope = above * below + 2 * s * (above.deriv() * below - above * below.deriv())
        return math.sqrt(min(_first_root(slope), _first_root(below)))


def _first_root(polynomial: Polynomial) -> float:
    """Return the smallest positive real root; infinity if there is none."""
    roots: Sequence[complex] = polynomial.trim().roots()
    real = [root.real for root in map(complex, roots) if abs(root.imag) < 1e-9 and root.real > 0]
    return min(real, default=math.inf)
