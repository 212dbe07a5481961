# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts for one object on one image, and the inputs of the mask decoder made from them.

R is the side of the network input in pixels, M = R / 4 that of its masks, P a number of points, K
the point tokens of the decoder.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tam_ros.model_files import ABSENT, PADDING, TrackerSpec
from tam_ros.runtime.base import Floats, PromptTokens
from tam_ros.tracking.dense_prior import draw_prior

MAX_ID = 0xFFFF  # the label image has 16 bits
NEW_OBJECT = 0  # object id of a prompt for a new object, whose id the tracker chooses

MASK_PROMPT_LOGIT = 10.0  # inside a mask prompt; -10 outside, as in the official predictor
PREVIOUS_LOGIT_LIMIT = 32.0  # a previous mask is clipped to +-this before it refines itself


class PromptError(ValueError):
    """A prompt that cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt for one object; create it with `points`, `box` or `mask`.

    Coordinates are pixels of the image, x to the right and y down, (0, 0) the centre of the top
    left pixel.

    Attributes:
        object_id: 1..65535, or 0 for a new object whose id the tracker chooses.
        points_xy: float32 [P, 2]; the corners of a box come first.
        labels: int64 [P]: 0 off the object, 1 on the object, 2 and 3 the corners of a box.
        mask_image: bool [H, W], or None.
        replace: delete the object's memories and restart it from this prompt.
        stamp: stamp of the image the prompt was made on, seconds; None: the image that is passed
            to the tracker together with the prompt.
    """

    object_id: int
    points_xy: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask_image: NDArray[np.bool_] | None = None
    replace: bool = False
    stamp: float | None = None

    def __post_init__(self) -> None:
        """Check the stamp."""
        if self.stamp is not None and not np.isfinite(self.stamp):
            raise PromptError(f'the stamp {self.stamp} of the prompt is not finite')

    @classmethod
    def points(
        cls,
        object_id: int,
        points: ArrayLike,
        labels: Sequence[int],
        replace: bool = False,
        stamp: float | None = None,
    ) -> Prompt:
        """Create a prompt from clicks.

        Args:
            object_id: see the class.
            points: [P, 2], (x, y) in pixels, at least one.
            labels: [P], 1 on the object, 0 off it.
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: no points, points and labels differ in number, or a coordinate is not
                finite.
        """
        xy, kinds = _clicks(points, labels)
        if not len(xy):
            raise PromptError('a prompt of points needs at least one point')
        return cls(_object_id(object_id), xy, kinds, replace=replace, stamp=stamp)

    @classmethod
    def box(
        cls,
        object_id: int,
        box: ArrayLike,
        points: ArrayLike | None = None,
        labels: Sequence[int] | None = None,
        replace: bool = False,
        stamp: float | None = None,
    ) -> Prompt:
        """Create a prompt from a box, with or without clicks.

        Args:
            object_id: see the class.
            box: (x0, y0, x1, y1) in pixels, the top left and the bottom right corner.
            points: additional clicks [P, 2].
            labels: labels of the clicks [P].
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: the corners are swapped or equal, or a coordinate is not finite.
        """
        corners = _finite(box, 'box').ravel()
        if corners.shape != (4,):
            raise PromptError(f'a box is four numbers x0, y0, x1, y1, not {corners.size}')
        x0, y0, x1, y1 = corners
        if x1 <= x0 or y1 <= y0:
            raise PromptError(
                f'box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty or has its corners '
                'swapped; give the top left corner first'
            )
        given = [] if labels is None else labels  # which may be an array
        xy, kinds = _clicks([] if points is None else points, given)
        return cls(
            _object_id(object_id),
            np.concatenate((corners.reshape(2, 2), xy)),
            np.concatenate(([2, 3], kinds)),
            replace=replace,
            stamp=stamp,
        )

    @classmethod
    def mask(
        cls, object_id: int, mask: ArrayLike, replace: bool = False, stamp: float | None = None
    ) -> Prompt:
        """Create a prompt from a mask.

        Args:
            object_id: see the class.
            mask: [H, W], the size of the image; nonzero pixels belong to the object.
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: the mask is not two-dimensional, or it is empty.
        """
        image = np.asarray(mask) != 0
        if image.ndim != 2:
            raise PromptError(f'a mask is an array [height, width], not {image.shape}')
        if not image.any():
            raise PromptError('the mask is empty; mark at least one pixel')
        return cls(
            _object_id(object_id),
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.int64),
            image,
            replace,
            stamp,
        )

    @classmethod
    def merged(cls, prompts: Sequence[Prompt]) -> Prompt:
        """Merge prompts of one object on one image, at least one, into a single prompt.

        What precedes the last box or mask is dropped, as in the official predictor.
        """
        start = max((i for i, one in enumerate(prompts) if one.drops_earlier_clicks), default=0)
        kept = prompts[start:]
        return cls(
            kept[0].object_id,
            np.concatenate([one.points_xy for one in kept]),
            np.concatenate([one.labels for one in kept]),
            kept[0].mask_image,
        )

    @property
    def drops_earlier_clicks(self) -> bool:
        """Whether this is a box or a mask, which replaces the clicks given before it."""
        return self.mask_image is not None or bool((self.labels >= 2).any())

    @property
    def marks_object(self) -> bool:
        """Whether it says where the object is, and not only where it is not."""
        return self.drops_earlier_clicks or bool((self.labels == 1).any())

    def check_image(self, height: int, width: int) -> None:
        """Raise PromptError if the prompt does not fit an image of this size, in pixels."""
        if self.mask_image is not None and self.mask_image.shape != (height, width):
            rows, columns = self.mask_image.shape
            raise PromptError(f'the mask is {columns}x{rows} but the image {width}x{height}')
        clicks = self.points_xy[self.labels < 2]
        outside = ((clicks < 0) | (clicks > (width - 1, height - 1))).any(1)
        if outside.any():
            x, y = clicks[outside][0]
            raise PromptError(f'point ({x:g}, {y:g}) lies outside the image {width}x{height}')
        corners = self.points_xy[self.labels >= 2]
        if len(corners):
            (x0, y0), (x1, y1) = corners
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                raise PromptError(
                    f'box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) lies outside the image {width}x{height}'
                )


def check_begins(prompts: Sequence[Prompt], object_id: int) -> None:
    """Raise PromptError if an object cannot begin with these prompts.

    The model takes clicks off an object alone as a request for anything else in the image.
    """
    if not any(prompt.marks_object for prompt in prompts):
        raise PromptError(
            f'object {object_id} has only clicks off it: add a click on it, a box or a mask'
        )


def check_point_count(
    prompts: Sequence[Prompt], object_id: int, where: str, spec: TrackerSpec
) -> None:
    """Raise PromptError if the decoder has too few tokens for the prompts of an object.

    Args:
        prompts: prompts of the object, on one image.
        object_id: id of the object, for the message.
        where: the image, for the message.
        spec: spec of the model.
    """
    limit = spec.point_tokens - 1  # one is the padding token
    count = sum(len(prompt.points_xy) for prompt in prompts)
    if count > limit:
        raise PromptError(
            f'{count} points for object {object_id} on {where}; the limit is {limit}, a box '
            'counting as two'
        )


# --- inputs of the mask decoder ---


def no_prompt_tokens(objects: int, spec: TrackerSpec) -> PromptTokens:
    """Return the decoder inputs for objects that are not prompted.

    SAM encodes this as a "not a point" token, and its padding is a second one.
    """
    labels = np.full((objects, spec.point_tokens), ABSENT, np.int64)
    labels[:, :2] = PADDING
    size = spec.mask_size
    return PromptTokens(
        np.zeros((*labels.shape, 2), np.float32),
        labels,
        np.zeros((objects, 1, size, size), np.float32),
        np.zeros(objects, np.float32),
    )


def point_tokens(
    points: Floats,
    labels: NDArray[np.int64],
    previous: Floats | None,
    image_size: tuple[int, int],
    spec: TrackerSpec,
) -> PromptTokens:
    """Return the decoder inputs for clicks and the corners of a box, for one object.

    Args:
        points: [P, 2], (x, y) in pixels of the image.
        labels: [P], see `Prompt.labels`.
        previous: mask logits [M, M] that the points refine; None for a new object.
        image_size: (height, width) of the image, pixels.
        spec: spec of the model.
    """
    tokens = no_prompt_tokens(1, spec)
    height, width = image_size
    fractions: Floats = np.divide(points, np.array((width, height), np.float32))
    count = len(points)
    tokens.points[0, :count] = fractions * spec.image_size
    tokens.labels[0] = ABSENT
    tokens.labels[0, :count] = labels
    tokens.labels[0, count] = PADDING
    mask = None
    if previous is not None:
        mask = previous.clip(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
    elif spec.dense_prompt_prior:
        mask = draw_prior(fractions, labels, spec.mask_size)
    return tokens if mask is None else _with_mask(tokens, mask)


def mask_tokens(fitted: NDArray[np.bool_], spec: TrackerSpec) -> PromptTokens:
    """Return the decoder inputs for a mask of `fit_mask`, for one object."""
    weight = np.array(spec.mask_downsample_weight, np.float32).reshape(4, 4)
    prompt = downsample_mask(fitted, weight, spec.mask_downsample_bias)
    return _with_mask(no_prompt_tokens(1, spec), prompt)


def _with_mask(tokens: PromptTokens, mask: Floats) -> PromptTokens:
    return tokens._replace(mask=mask[None, None], has_mask=np.ones(1, np.float32))


def fit_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize a mask of the image [H, W] to the network input [size, size]."""
    if mask.shape == (size, size):
        return mask
    return resize_antialiased(mask.astype(np.float32), size, size) >= 0.5


def mask_to_logits(mask: NDArray[np.bool_], size: int) -> Floats:
    """Convert a mask [R, R] to low-resolution logits [size, size] in -10..10."""
    logits = np.where(mask, np.float32(MASK_PROMPT_LOGIT), np.float32(-MASK_PROMPT_LOGIT))
    return resize_antialiased(logits, size, size)


def downsample_mask(mask: NDArray[np.bool_], weight: Floats, bias: float) -> Floats:
    """Apply the learned 4x4 convolution of stride 4 to a mask [R, R], giving [R / 4, R / 4].

    It belongs to the network, but 17 weights used on prompted frames only do not justify a graph.
    """
    side = mask.shape[0] // 4
    blocks = mask.astype(np.float32).reshape(side, 4, side, 4)
    prompt: Floats = (np.einsum('aibj,ij->ab', blocks, weight) + bias).astype(np.float32)
    return prompt


def resize_antialiased(image: Floats, height: int, width: int) -> Floats:
    """Resize [H, W] with a triangle filter that widens when shrinking, in float32.

    The result equals `torch.nn.functional.interpolate(antialias=True, mode='bilinear')`. OpenCV
    has no such filter: its linear resize does not widen, and its area resize is a box filter.
    """
    rows = _triangle_weights(image.shape[0], height)
    columns = _triangle_weights(image.shape[1], width)
    resized: Floats = (rows @ image @ columns.T).astype(np.float32)
    return resized


@lru_cache(maxsize=16)
def _triangle_weights(inputs: int, outputs: int) -> NDArray[np.float64]:
    """Return the matrix [outputs, inputs] of an antialiased linear resize along one axis."""
    scale = inputs / outputs
    support = max(scale, 1.0)
    centre = (np.arange(outputs) + 0.5) * scale
    distance = np.abs(np.arange(inputs)[None] + 0.5 - centre[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    normalised: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return normalised


# --- checks of the arguments ---


def _object_id(object_id: int) -> int:
    try:
        number = operator.index(object_id)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_ID:
        raise PromptError(f'object id {object_id} is not a whole number in 0..{MAX_ID}')
    return number


def _finite(values: ArrayLike, what: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise PromptError(f'{what} coordinates are not numbers: {error}') from error
    if not np.isfinite(array).all():
        raise PromptError(f'{what} coordinates are not finite')
    return array


def _clicks(
    points: ArrayLike, labels: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    xy = _finite(points, 'point')
    if xy.size == 0:
        xy = xy.reshape(0, 2)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise PromptError(f'points are an array [P, 2], not {xy.shape}')
    kinds = np.asarray(labels, np.int64).ravel()
    if len(kinds) != len(xy):
        raise PromptError(f'{len(xy)} points but {len(kinds)} labels')
    if not np.isin(kinds, (0, 1)).all():
        raise PromptError('labels of points are 1 (on the object) or 0 (off it)')
    return xy, kinds
