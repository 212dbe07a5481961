# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which distortion model of OpenCV a `CameraInfo` means, by name and number of coefficients.

OpenCV has two models: one of which each number of coefficients, 4, 5, 8, 12 or 14, is a special
case of the next (https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html), and that of fisheye
lenses. Drivers name the first after its special cases or after its authors, and fill up with
zeros. sensor_msgs/distortion_models.hpp names plumb_bob, rational_polynomial and equidistant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PLUMB_BOB = 'plumb_bob'
RATIONAL = 'rational_polynomial'
FISHEYE = 'equidistant'

COEFFICIENTS = {PLUMB_BOB: (4, 5), RATIONAL: (8, 12, 14), FISHEYE: (4,)}
"""Numbers of coefficients that a distortion model may have, by its name."""

# Names without capitals, spaces, hyphens and underscores.
_STANDARD = (
    '',  # as many drivers leave it
    'plumbbob',
    'rationalpolynomial',
    'rational',
    'brown',
    'brownconrady',
    'radtan',
    'radialtangential',
    'pinhole',
    'pinholeradtan',
    'opencv',
    'thinprism',
    'tilted',
)
_FISHEYE = (
    'equidistant',
    'equi',
    'pinholeequi',
    'fisheye',
    'opencvfisheye',
    'kannalabrandt',
    'kannalabrandt4',
    'kb4',
)
_NONE = ('none', 'undistorted', 'nodistortion', 'rectified')


class DistortionError(ValueError):
    """A distortion that OpenCV has no model for."""


def known_distortion(name: str, coefficients: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """Return a distortion as one of `COEFFICIENTS` and as many coefficients as it has.

    Args:
        name: `CameraInfo.distortion_model`, in capitals or not.
        coefficients: `CameraInfo.d`; zeros at the end may be missing or too many.

    Returns:
        The name of the model and its coefficients, none without distortion. Fisheye lenses have
        four also if all are zero, since that is not a pinhole camera.

    Raises:
        DistortionError: the model is not known, or has more coefficients than OpenCV's.
    """
    given = tuple(map(float, coefficients))
    while given and given[-1] == 0:
        given = given[:-1]
    model = re.sub(r'[\s_-]', '', name.lower())
    if model in _FISHEYE and len(coefficients):
        return FISHEYE, _filled(name, given, COEFFICIENTS[FISHEYE])
    if not given or model in _NONE:
        return PLUMB_BOB, ()
    if model in _STANDARD:
        sizes = COEFFICIENTS[PLUMB_BOB] + COEFFICIENTS[RATIONAL]
        filled = _filled(name, given, sizes)
        return PLUMB_BOB if len(filled) in COEFFICIENTS[PLUMB_BOB] else RATIONAL, filled
    why = ''
    if model in ('inversebrownconrady', 'modifiedbrownconrady'):
        why = ', which is another formula than that of Brown-Conrady'
    raise DistortionError(
        f'unknown distortion model {name!r}{why}; known: {", ".join(COEFFICIENTS)}. Use rectified '
        f'images, or calibrate the camera with one of these'
    )


def _filled(name: str, given: tuple[float, ...], sizes: Sequence[int]) -> tuple[float, ...]:
    """Fill up with zeros to the next number of coefficients that OpenCV takes."""
    if len(given) > sizes[-1]:
        raise DistortionError(
            f'the distortion model {name!r} has {len(given)} coefficients, but at most '
            f'{sizes[-1]} are known'
        )
    size = next(size for size in sizes if size >= len(given))
    return given + (0.0,) * (size - len(given))
