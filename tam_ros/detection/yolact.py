# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YOLACT and YOLACT++ as detectors: what becomes of the outputs of the network.

See `tam_ros.models.yolact`. R is the side of the network's input, P the number of predicted boxes,
C of classes, K of prototypes, M the side of the prototypes.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.detection.detections import Detections
from tam_ros.detection.detector import Detector, DetectorOptions, DetectorRequest
from tam_ros.detection.neighbours import tracked_neighbours
from tam_ros.detection.suppression import suppress
from tam_ros.loading import open_graphs
from tam_ros.model_files import DetectorSpec, WeightsError
from tam_ros.runtime.base import Floats, LoadedGraphs
from tam_ros.tracking.network_input import check_image

# Numbers of the official configuration.
CONFIDENCE = 0.05  # of the best class; boxes below are not looked at
CANDIDATES = 200  # boxes of a class that are compared with each other
LARGEST = 100  # detections of an image
IOU = 0.5


class Chosen(NamedTuple):
    """The boxes that are kept.

    Attributes:
        rows: [N], positions among the boxes.
        classes: [N].
        scores: float32 [N], highest first.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: Floats


def open_detector(request: DetectorRequest) -> Detector:
    """Load a model; see `Detector.open`."""
    if request.settings:
        raise ValueError(f'{request.name} has no setting {", ".join(request.settings)}')
    graphs = open_graphs(
        request.name,
        request.weights,
        request.runtime,
        request.threads,
        precision=request.precision,
        engines=request.engines,
    )
    try:
        return YolactDetector(request.name, graphs, request.options)
    except BaseException:
        graphs.close()
        raise


class YolactDetector(Detector):
    """A network of the YOLACT family."""

    def __init__(self, name: str, graphs: LoadedGraphs, options: DetectorOptions) -> None:
        """Use the graphs, which are closed with the detector.

        Args:
            name: catalogue name.
            graphs: loaded by that name.
            options: which detections are reported.

        Raises:
            WeightsError: the graphs are those of another model.
            ValueError: the options have a class that the model does not know.
        """
        spec = graphs.spec
        if not isinstance(spec, DetectorSpec) or spec.name != name:
            raise WeightsError(
                f'the graphs are those of {spec.name}, which is a {spec.kind}; give graphs or a '
                f'checkpoint of {name}'
            )
        unknown = [one for one in options.classes if one not in spec.class_names]
        if unknown:
            near = difflib.get_close_matches(unknown[0], spec.class_names)
            example = f'did you mean {" or ".join(near)}?' if near else 'its classes are'
            names = '' if near else f' {", ".join(spec.class_names)}'
            raise ValueError(f'{name} does not know {", ".join(unknown)}; {example}{names}')
        self.name = name
        self.class_names = spec.class_names
        self.info = {'weights': spec.weights, **graphs.info}
        self._graphs = graphs
        self._options = options
        self._side = spec.graph('detect').inputs[0].shape[1]
        self._wanted = np.array(
            [not options.classes or one in options.classes for one in spec.class_names]
        )

    def detect(self, image: NDArray[np.uint8], tracked: Any = None) -> Detections:
        """Find the objects in an image; see `Detector.detect`."""
        check_image(image)
        height, width = image.shape[:2]
        found = self._graphs.sessions['detect'].run({'image': network_input(image, self._side)})
        boxes, coefficients = found['boxes'][0], found['coefficients'][0]
        scores = np.where(self._wanted, found['scores'][0], 0)
        pixels = boxes * np.array([width, height] * 2, np.float32)
        chosen = choose(pixels, scores, self._options, tracked)
        if not len(chosen.rows):
            return Detections.none(self.class_names, (height, width))
        masks = assemble(found['prototypes'][0], coefficients[chosen.rows], boxes[chosen.rows])
        if 'rescore' in self._graphs.sessions:
            chosen, masks = self._rescored(chosen, masks)
        kept = clipped(pixels[chosen.rows], (height, width))
        return Detections(
            kept, chosen.scores, chosen.classes, self.class_names, enlarge(masks, (height, width))
        )

    def _rescored(self, chosen: Chosen, masks: Floats) -> tuple[Chosen, Floats]:
        """Multiply each score with the predicted quality of its mask, and sort again."""
        ious = self._graphs.sessions['rescore'].run({'masks': masks[:, None]})['ious']
        scores = chosen.scores * ious[np.arange(len(masks)), chosen.classes]
        order = np.argsort(-scores, kind='stable')
        if self._options.min_score:
            order = order[scores[order] > self._options.min_score]
        return Chosen(chosen.rows[order], chosen.classes[order], scores[order]), masks[order]

    def close(self) -> None:
        """Release the memory of the device."""
        self._graphs.close()


def network_input(image: NDArray[np.uint8], side: int) -> Floats:
    """Resize an RGB image [H, W, 3] to float32 [1, R, R, 3], by bilinear interpolation.

    As in the official code the aspect ratio is lost, and nothing is averaged or rounded.
    """
    resized = cv2.resize(
        np.ascontiguousarray(image, np.float32), (side, side), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.float32)[None]


def choose(
    boxes: Floats, scores: Floats, options: DetectorOptions | None = None, tracked: Any = None
) -> Chosen:
    """Choose which boxes are objects, and of which class.

    Without a `min_score` that is what the official code returns: up to 100 detections, filled
    with unlikely ones; of `across_classes` up to 200.

    Args:
        boxes: [P, 4], x0, y0, x1, y1 in pixels.
        scores: [P, C].
        options: see `DetectorOptions`; the suppression is `fast` if it names none.
        tracked: boxes of the tracked objects, for the suppression `noh`.
    """
    options = options or DetectorOptions()
    best = scores.max(1, initial=0)
    likely = (best > max(CONFIDENCE, options.min_score)) & np.isfinite(boxes).all(1)
    rows = np.flatnonzero(likely)
    boxes, scores = boxes[rows], scores[rows]
    if options.across_classes:
        index, values = _suppressed(boxes, scores.max(1, initial=0), options, tracked)
        classes = scores[index].argmax(1) if len(index) else np.zeros(0, np.int64)
        return Chosen(rows[index], classes, values)
    found: list[Chosen] = []
    # The scores of a class above `min_score` do not depend on those below.
    for number in np.flatnonzero(scores.max(0, initial=0) > options.min_score).tolist():
        some = np.flatnonzero(scores[:, number] > options.min_score)
        index, values = _suppressed(boxes[some], scores[some, number], options, tracked)
        found.append(Chosen(rows[some[index]], np.full(len(index), number), values))
    if not found:
        return Chosen(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    index, classes, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-values, kind='stable')[:LARGEST]
    return Chosen(index[order], classes[order], values[order])


def _suppressed(
    boxes: Floats, scores: Floats, options: DetectorOptions, tracked: Any
) -> tuple[NDArray[np.int64], Floats]:
    """Suppress the boxes of one class."""
    best = np.argsort(-scores, kind='stable')[:CANDIDATES]
    method = options.suppression or 'fast'
    neighbours = None
    if method == 'noh':
        neighbours = tracked_neighbours(boxes[best], () if tracked is None else tracked)
    iou = IOU if options.iou is None else options.iou
    kept, values = suppress(
        boxes[best], scores[best], method, iou, neighbours, min_score=options.min_score
    )
    return best[kept], values


def assemble(prototypes: Floats, coefficients: Floats, boxes: Floats) -> Floats:
    """Return soft masks [N, M, M'], 0 to 1, that are 0 outside their boxes.

    Args:
        prototypes: [M, M', K].
        coefficients: [N, K].
        boxes: [N, 4] in widths and heights of the image; corners may be swapped.
    """
    height, width = prototypes.shape[:2]
    logits = np.moveaxis(prototypes @ coefficients.T, 2, 0)
    masks = (1 + np.tanh(logits / 2)) / 2  # the sigmoid function, without overflow
    inside = [
        _between(boxes[:, [low, high]] * size, size)
        for low, high, size in ((1, 3, height), (0, 2, width))
    ]
    cropped: Floats = masks * (inside[0][:, :, None] & inside[1][:, None, :])
    return cropped.astype(np.float32)


def _between(ends: Floats, size: int) -> NDArray[np.bool_]:
    """Return [N, size], which positions lie between two ends [N, 2], or just beside them."""
    low = np.maximum(ends.min(1) - 1, 0)[:, None]
    high = np.minimum(ends.max(1) + 1, size)[:, None]
    positions = np.arange(size)
    inside: NDArray[np.bool_] = (positions >= low) & (positions < high)
    return inside


def enlarge(masks: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return masks at the size of the image, bool [N, H, W], from soft masks [N, M, M']."""
    height, width = size
    large = np.zeros((len(masks), height, width), np.bool_)
    for mask, target in zip(masks, large, strict=True):
        resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
        np.greater(resized, 0.5, out=target)
    return large


def clipped(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Return boxes [N, 4] in pixels, clipped to the image, with corners in order."""
    height, width = size
    corners = np.stack([boxes[:, :2], boxes[:, 2:]])
    limits = np.array([width, height], np.float32)
    low, high = np.clip(corners.min(0), 0, limits), np.clip(corners.max(0), 0, limits)
    return np.concatenate([low, high], 1).astype(np.float32)
