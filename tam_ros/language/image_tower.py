# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Dense features of an image by the image tower of a CLIP, whatever the image's aspect ratio.

A ViT encodes an image of any shape at once, as long as it has no more patches than its graph has
places; the learned position embeddings are interpolated for it (bicubic, as MaskCLIP does). A
ResNet encodes squares. What does not fit is encoded in windows that overlap by a quarter, and the
features of a place in several windows are averaged.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.language.arrays import Floats, cubic, unit
from tam_ros.model_files import GraphSpec, WeightsError
from tam_ros.runtime.base import LoadedGraphs, Session

GRAPH = 'image_encoder'
OVERLAP = 4  # windows overlap by at least this part of their side


@dataclass(frozen=True)
class DenseFeatures:
    """Features of the places of an image.

    Attributes:
        features: float32 [D, h, w], of length 1 at each place.
        keys: float32 [h * w, W], the keys of the last attention, for key smoothing.
        covered: how much of the map the image covers, as parts of its height and width; below 1
            if the image was padded to whole patches.
    """

    features: Floats
    keys: Floats
    covered: tuple[float, float] = (1.0, 1.0)


class ImageTower(ABC):
    """The graph of an image tower.

    Attributes:
        stride: pixels of a place in the map.
        dim: channels of the features, D.
    """

    stride: int
    dim: int

    @abstractmethod
    def fits(self, height: int, width: int) -> bool:
        """Return whether a map of this size is encoded at once."""

    @property
    @abstractmethod
    def window(self) -> int:
        """Side of the largest square map that is encoded at once."""

    @abstractmethod
    def good_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that an image should be encoded at, pixels; multiples of the stride."""

    @abstractmethod
    def _run(self, image: Floats) -> tuple[Floats, Floats]:
        """Encode a normalised image [h * stride, w * stride, 3] that fits.

        Returns:
            Features [h, w, D], not normalised, and keys [h, w, W].
        """

    def encode(self, image: Floats, window: int | None = None) -> DenseFeatures:
        """Encode a normalised image.

        Args:
            image: float32 [H, W, 3]. It is padded with zeros to whole places.
            window: side of the windows, pixels; None: no windows unless the image does not fit.
        """
        stride = self.stride
        height, width = (-(-size // stride) for size in image.shape[:2])
        covered = (image.shape[0] / (height * stride), image.shape[1] / (width * stride))
        below, right = height * stride - image.shape[0], width * stride - image.shape[1]
        image = np.pad(image, ((0, below), (0, right), (0, 0)))
        if window is None and self.fits(height, width):
            features, keys = self._run(image)
            return _dense(unit(features), keys, covered)
        side = min(self.window, max(1, (window or self.window * stride) // stride))
        total: list[Floats] = []
        count = np.zeros((height, width, 1), np.float32)
        for top in _starts(height, side):
            for left in _starts(width, side):
                place = np.s_[top : top + side, left : left + side]
                part = image[
                    top * stride : (top + side) * stride, left * stride : (left + side) * stride
                ]
                features, keys = self._run(part)
                if not total:
                    total = [
                        np.zeros((height, width, one.shape[-1]), np.float32)
                        for one in (features, keys)
                    ]
                total[0][place] += unit(features)
                total[1][place] += keys
                count[place] += 1
        return _dense(unit(total[0]), np.asarray(total[1] / count, np.float32), covered)


def _dense(features: Floats, keys: Floats, covered: tuple[float, float]) -> DenseFeatures:
    return DenseFeatures(
        np.ascontiguousarray(features.transpose(2, 0, 1)),
        np.ascontiguousarray(keys.reshape(-1, keys.shape[-1])),
        covered,
    )


def _starts(size: int, side: int) -> list[int]:
    """Return where windows of a side begin that cover a size and overlap evenly."""
    if size <= side:
        return [0]
    count = 1 + math.ceil((size - side) / max(1, side - max(1, side // OVERLAP)))
    return [round(index * (size - side) / (count - 1)) for index in range(count)]


class PatchTower(ImageTower):
    """The tower of a ViT: a graph with places for patches, not all of which need be used."""

    def __init__(self, session: Session, graph: GraphSpec) -> None:
        """Read the sizes from the graph."""
        shapes = {tensor.name: tensor.shape for tensor in (*graph.inputs, *graph.outputs)}
        self._session = session
        self._places, values = shapes['patches']
        self._grid = math.isqrt(shapes['position'][1])
        self.stride = math.isqrt(values // 3)
        self.dim = shapes['features'][1]

    @property
    def window(self) -> int:
        """Side of the largest square map."""
        return math.isqrt(self._places)

    def fits(self, height: int, width: int) -> bool:
        """Return whether there are places enough."""
        return height * width <= self._places

    def good_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the patches of the image nearly fill the places."""
        aspect = height / width
        tall, wide = math.sqrt(self._places * aspect), math.sqrt(self._places / aspect)
        if tall < 1:
            sizes = [(1, min(self._places, round(1 / aspect)))]
        elif wide < 1:
            sizes = [(min(self._places, round(aspect)), 1)]
        else:
            sizes = [
                (rows, columns)
                for rows in (math.floor(tall), math.ceil(tall))
                for columns in (math.floor(wide), math.ceil(wide))
                if rows * columns <= self._places
            ]
        # The one that distorts the image least.
        rows, columns = min(sizes, key=lambda size: abs(math.log(size[0] / size[1] / aspect)))
        return rows * self.stride, columns * self.stride

    def _run(self, image: Floats) -> tuple[Floats, Floats]:
        side = self.stride
        rows, columns = image.shape[0] // side, image.shape[1] // side
        count, places = rows * columns, self._places
        patches = np.zeros((1, places, 3 * side**2), np.float32)
        patches[0, :count] = (
            image.reshape(rows, side, columns, side, 3)
            .transpose(0, 2, 4, 1, 3)
            .reshape(count, 3 * side**2)
        )
        position = np.zeros((1, places, self._grid**2), np.float32)
        position[0, :count] = np.kron(cubic(rows, self._grid), cubic(columns, self._grid))
        valid = (np.arange(places) < count).astype(np.int64)[None]
        found = self._session.run({'patches': patches, 'position': position, 'valid': valid})
        return (
            found['features'][0, :count].reshape(rows, columns, -1),
            found['keys'][0, :count].reshape(rows, columns, -1),
        )


class SquareTower(ImageTower):
    """The tower of a ResNet: a graph for a square image."""

    def __init__(self, session: Session, graph: GraphSpec) -> None:
        """Read the sizes from the graph."""
        shapes = {tensor.name: tensor.shape for tensor in (*graph.inputs, *graph.outputs)}
        self._session = session
        self._side = shapes['image'][1]
        self.dim, grid, _ = shapes['features']
        self.stride = self._side // grid

    @property
    def window(self) -> int:
        """Side of the map."""
        return self._side // self.stride

    def fits(self, height: int, width: int) -> bool:
        """Return whether the map is not larger; a smaller image is padded."""
        return max(height, width) <= self.window

    def good_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size whose shorter side is that of the graph."""
        scale = self.window / min(height, width)
        rows, columns = (max(self.window, round(size * scale)) for size in (height, width))
        return rows * self.stride, columns * self.stride

    def _run(self, image: Floats) -> tuple[Floats, Floats]:
        rows, columns = image.shape[0] // self.stride, image.shape[1] // self.stride
        square = np.zeros((1, 3, self._side, self._side), np.float32)
        square[0, :, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
        found = self._session.run({'image': square})
        return (
            found['features'][0, :, :rows, :columns].transpose(1, 2, 0),
            found['keys'][0, :, :rows, :columns].transpose(1, 2, 0),
        )


def open_tower(graphs: LoadedGraphs) -> ImageTower:
    """Return the image tower of a model.

    Raises:
        WeightsError: the model has none.
    """
    try:
        graph, session = graphs.spec.graph(GRAPH), graphs.sessions[GRAPH]
        names = {tensor.name for tensor in graph.inputs}
        return (PatchTower if 'patches' in names else SquareTower)(session, graph)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f'{graphs.spec.name} has no image tower of a CLIP') from error


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image, without aliasing where it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
