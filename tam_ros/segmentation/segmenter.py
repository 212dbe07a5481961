# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image mode: one image, and prompts on it as often as wanted; nothing is tracked.

The rules are those of the official SAM 2 image predictor. H and W are the sides of the image in
pixels, M that of the masks that the network predicts, N a number of candidate masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tam_ros import catalogue
from tam_ros.closing import Closing
from tam_ros.model_files import SEGMENTER
from tam_ros.runtime.base import Floats
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.segmentation.base import (
    CANDIDATES,
    LOGIT_LIMIT,
    Embedding,
    PromptableModel,
    PromptBatch,
)
from tam_ros.segmentation.everything import EverythingOptions, Proposal, propose
from tam_ros.segmentation.sam_model import SamModel
from tam_ros.segmentation.stability import stability_of
from tam_ros.segmentation.tracker_model import TrackerModel
from tam_ros.tracking import EncodedImage, Prompt, PromptError
from tam_ros.tracking.network_input import check_image


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The candidate masks of one prompt.

    Attributes:
        masks: bool [N, H, W].
        predicted_iou: float32 [N], the model's own estimate of the intersection over union of
            each mask with the object, 0..1.
        stability: float32 [N], how little each mask depends on its threshold: the area where its
            logit is above 1 over that where it is above -1, 0..1.
        quality: float32 [N], by what the masks are compared: the predicted IoU, or the stability
            for a model whose predicted IoU means little.
        low_resolution: float32 [N, M, M], logits of the masks as the network predicts them, in
            -32..32; one of them may be passed to `predict` as `mask`, to be refined.
    """

    masks: NDArray[np.bool_]
    predicted_iou: Floats
    stability: Floats
    quality: Floats
    low_resolution: Floats

    @property
    def best(self) -> int:
        """Index of the mask of the highest quality."""
        return int(self.quality.argmax())


class Segmenter(Closing):
    """Segments what prompts show in an image; used from one thread.

        with Segmenter.open('efficienttam_nano') as segmenter:
            segmenter.set_image(rgb)
            found = segmenter.predict(points=[(320, 240)])
            mask = found.masks[found.best]

    Attributes:
        network: the model and its backend, for instance its `name` and `weights`.
    """

    def __init__(self, network: PromptableModel) -> None:
        """Create a segmenter on a loaded model, which it closes at the end; see `open`."""
        self.network = network
        self._embedding: Embedding | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        model: str,
        weights: str | Path | None = None,
        runtime: str = 'onnxruntime',
        *,
        threads: int | None = None,
        precision: str = 'auto',
        engines: EngineOptions | None = None,
    ) -> Segmenter:
        """Load a model and create a segmenter on it.

        Arguments and errors are those of `tam_ros.tracking.Tracker.open`; models of the kind
        `segmenter` can be opened as well.
        """
        from tam_ros.loading import open_graphs, open_runtime

        if catalogue.model(model).kind == SEGMENTER:
            graphs = open_graphs(
                model, weights, runtime, threads, precision=precision, engines=engines
            )
            return cls(SamModel(graphs, runtime))
        opened = open_runtime(
            model, weights, runtime, threads, precision=precision, engines=engines
        )
        try:
            opened.allocate(1, opened.spec.slots, opened.spec.pointer_slots, images=2)
            return cls(TrackerModel(opened))
        except BaseException:
            opened.close()
            raise

    @classmethod
    def on(cls, image: EncodedImage) -> Segmenter:
        """Create a segmenter on an image that a tracker keeps; do not close it.

        Args:
            image: from `tam_ros.tracking.Tracker.encoded_image`.
        """
        network = TrackerModel(image.runtime)
        segmenter = cls(network)
        segmenter._embedding = network.of_tracked(image)
        return segmenter

    @property
    def model(self) -> str:
        """Catalogue name of the model."""
        return self.network.name

    @property
    def runtime(self) -> str:
        """Name of the backend."""
        return self.network.runtime

    @property
    def weights(self) -> str:
        """Description of the weights for users; starts with `untrained` if they are."""
        return self.network.weights

    @property
    def info(self) -> Mapping[str, str]:
        """Further facts about the backend by name: `device`, `precision` and more."""
        return self.network.info

    def close(self) -> None:
        """Release the device memory of the model. Calling it again does nothing."""
        self._closed, self._embedding = True, None
        self.network.close()

    # --- image ---

    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encode an image, on which the following prompts are made.

        Args:
            image: uint8 RGB [H, W, 3].

        Raises:
            FrameError: the image has another type or shape; the previous one is kept.
        """
        self._check_open()
        check_image(image)
        self._embedding = None  # so that a device need not hold both
        self._embedding = self.network.encode(image)

    @property
    def embedding(self) -> Embedding:
        """The encoded image.

        Raises:
            RuntimeError: there is none, or the segmenter is closed.
        """
        self._check_open()
        if self._embedding is None:
            raise RuntimeError('there is no image yet: call set_image first')
        return self._embedding

    # --- prompts ---

    def predict(
        self,
        points: ArrayLike | None = None,
        labels: Sequence[int] | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        candidates: int = 3,
    ) -> Segmentation:
        """Segment what a prompt shows in the image.

        Args:
            points: clicks [P, 2], (x, y) in pixels of the image.
            labels: [P], 1 on the object, 0 off it; None: all are on it.
            box: (x0, y0, x1, y1) around the object, pixels.
            mask: what is to be refined: logits [M, M] of an earlier prediction on this image, or
                a mask bool [H, W].
            candidates: 3 for a prompt that may mean several things, such as a single click: the
                whole, a part, a part of the part. 1 for a clear one. 4: all that the decoder has.

        Raises:
            PromptError: there is nothing to segment, a point lies outside the image, or another
                argument cannot be used.
            RuntimeError: there is no image, or the segmenter is closed.
        """
        embedding = self.embedding
        if candidates not in (1, 3, CANDIDATES):
            raise PromptError(f'candidates is {candidates}; 1, 3 or {CANDIDATES}')
        batch = self._batch(points, labels, box, mask)
        decoded = self.network.decode(embedding, batch)
        chosen = {
            1: self.network.choose(decoded),
            3: np.arange(1, CANDIDATES),
            CANDIDATES: np.arange(CANDIDATES),
        }[candidates]
        logits = decoded.logits[0, chosen]
        enlarged = np.stack([self.network.enlarge(one, embedding.size) for one in logits])
        return Segmentation(
            enlarged > 0,
            decoded.ious[0, chosen],
            np.array([stability_of(one) for one in enlarged], np.float32),
            self.network.quality(decoded)[0, chosen],
            logits.clip(-LOGIT_LIMIT, LOGIT_LIMIT),
        )

    def segment(self, prompt: Prompt) -> Segmentation:
        """Return the one mask that a prompt most likely means, with N = 1.

        For points and boxes it is the mask that the tracker would begin an object with: of a
        single click the candidate of the highest quality, otherwise that for clear
        prompts. A mask is refined, while the tracker takes it as it is.

        Args:
            prompt: its object and stamp are not used.

        Raises:
            PromptError, RuntimeError: as for `predict`.
        """
        prompt.check_image(*self.embedding.size)
        labels, xy = prompt.labels, prompt.points_xy
        corners = labels >= 2
        box = xy[corners].ravel() if corners.any() else None
        clicks = [int(label) for label in labels[~corners]]
        single = prompt.mask_image is None and len(labels) <= 1
        found = self.predict(
            xy[~corners], clicks, box, prompt.mask_image, candidates=3 if single else 1
        )
        best = slice(found.best, found.best + 1)
        return Segmentation(
            found.masks[best],
            found.predicted_iou[best],
            found.stability[best],
            found.quality[best],
            found.low_resolution[best],
        )

    def everything(self, options: EverythingOptions | None = None) -> list[Proposal]:
        """Segment whatever a grid of clicks finds in the image; see `everything.py`.

        Args:
            options: None: those for this model, `EverythingOptions.of(self.model)`.

        Returns:
            The masks, best first by predicted IoU.

        Raises:
            RuntimeError: there is no image, or the segmenter is closed.
        """
        return propose(
            self.network, self.embedding, options or EverythingOptions.of(self.network.name)
        )

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError('the segmenter is closed')

    def _batch(
        self,
        points: ArrayLike | None,
        labels: Sequence[int] | None,
        box: ArrayLike | None,
        mask: ArrayLike | None,
    ) -> PromptBatch:
        """Check a prompt and return it as a batch of one."""
        xy = np.zeros((0, 2)) if points is None else points
        if labels is None:
            labels = [1] * len(np.atleast_1d(np.asarray(xy, object)))
        if box is not None:
            prompt = Prompt.box(1, box, xy, labels)
        elif np.size(xy) or len(labels):
            prompt = Prompt.points(1, xy, labels)
        elif mask is None:
            raise PromptError('the prompt is empty: give points, a box or a mask')
        else:
            prompt = None
        refined = None if mask is None else self._logits(mask)
        if prompt is None:
            return PromptBatch(
                np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int64), refined
            )
        prompt.check_image(*self.embedding.size)
        if mask is None and not prompt.marks_object:
            raise PromptError('the prompt has only clicks off the object: add one on it, or a box')
        if len(prompt.points_xy) > self.network.max_points:
            raise PromptError(
                f'{len(prompt.points_xy)} points; the limit is {self.network.max_points}, a box '
                'counting as two'
            )
        return PromptBatch(prompt.points_xy[None], prompt.labels[None], refined)

    def _logits(self, mask: ArrayLike) -> Floats:
        """Check a mask and return its logits as a batch of one."""
        side, size = self.network.mask_size, self.embedding.size
        given = np.asarray(mask)
        if given.shape == size and given.dtype == np.bool_:
            if not given.any():
                raise PromptError('the mask is empty; mark at least one pixel')
            return self.network.shrink(given)[None]
        logits = given[0] if given.shape == (1, side, side) else given
        if logits.shape != (side, side) or logits.dtype.kind != 'f':
            raise PromptError(
                f'the mask is {given.dtype} {given.shape}; bool {size} of the size of the image '
                f'is needed, or float32 ({side}, {side}), logits of an earlier prediction'
            )
        if not np.isfinite(logits).all():
            raise PromptError('the logits of the mask are not finite')
        return logits.astype(np.float32)[None]
