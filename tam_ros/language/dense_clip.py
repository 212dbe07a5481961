# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where in an image is what a text says: MaskCLIP (arXiv 2112.01071; DenseCLIP in version 1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros import catalogue
from tam_ros.closing import Closing
from tam_ros.language.arrays import Floats, unit
from tam_ros.language.dense_options import DenseOptions
from tam_ros.language.image_tower import DenseFeatures, ImageTower, open_tower, resize
from tam_ros.language.refinement import refine
from tam_ros.language.regions import Finds, find_regions, probabilities
from tam_ros.language.templates import TEMPLATES
from tam_ros.language.text_encoder import TextEncoder
from tam_ros.language.text_features import TextError, TextFeatures
from tam_ros.loading import open_exported_graphs, open_graphs
from tam_ros.model_files import CLIP, DESCRIPTION, UNTRAINED, WeightsError
from tam_ros.runtime.backends import AUTO
from tam_ros.runtime.base import LoadedGraphs
from tam_ros.runtime.engine_options import EngineOptions

CHECKPOINTS = ('model.safetensors', 'pytorch_model.bin')

Texts = str | Sequence[str] | TextFeatures | NDArray[Any]
"""Texts, or their features: of a file, or float32 [T, D] that are known to be of this model."""


class ImageError(ValueError):
    """An image cannot be used; the message says why."""


class DenseClip(Closing):
    """A CLIP that scores texts at every place of an image; used from one thread.

    Attributes:
        options: what is used where a call does not say otherwise.
    """

    def __init__(
        self,
        load: Callable[[bool], LoadedGraphs],
        weights: Path,
        tokenizer: Path | None,
        options: DenseOptions,
    ) -> None:
        """Load the model; use `open`.

        Args:
            load: loads the graphs, of the official variant if called with True.
            weights: file or folder of the weights.
            tokenizer: file or folder of the tokenizer's table; None: beside the weights.
            options: for calls.
        """
        self.options = options
        self._load = load
        self._variants: dict[bool, tuple[LoadedGraphs, ImageTower]] = {}
        graphs, tower = self._variant(options.official)
        spec = graphs.spec
        # Deterministic random numbers differ from architecture to architecture.
        untrained = spec.fingerprint == UNTRAINED
        self.fingerprint = f'{UNTRAINED} {spec.name}' if untrained else spec.fingerprint
        self.dim = tower.dim
        self._words = TextEncoder(graphs, self.fingerprint, self.dim, weights, tokenizer)

    @classmethod
    def open(
        cls,
        model: str | None,
        weights: str | Path | None = None,
        runtime: str = 'onnxruntime',
        threads: int | None = None,
        *,
        precision: str = AUTO,
        engines: EngineOptions | None = None,
        tokenizer: str | Path | None = None,
        heads: int | None = None,
        tokens: int | None = None,
        **options: Any,
    ) -> DenseClip:
        """Open a model.

        Args:
            model: catalogue name, such as `clip_vit_b16`; None for any CLIP, whose architecture
                is then read from the shapes in the checkpoint.
            weights: a checkpoint of OpenAI or transformers, a folder with one as transformers
                names it, or a folder of exported graphs. None: the model's own.
            runtime: see `tam_ros.loading.open_graphs`, and for the next three.
            threads: CPU threads.
            precision: of the computation.
            engines: options for a backend that builds engines.
            tokenizer: file or folder of the tokenizer's table; None: it is beside the weights.
            heads: attention heads of the image tower, which shapes do not tell; None: CLIP's rule.
            tokens: patches of an image that a ViT encodes at once; None: twice the side in
                training.
            options: of `DenseOptions`.

        Raises:
            UnknownModelError, WeightsError, EngineError, ValueError: see
                `tam_ros.loading.open_runtime`.
        """
        chosen = DenseOptions(**options)
        path = None if weights is None else _weights_at(Path(os.path.expanduser(weights)))
        sizes = {'vision_heads': heads, 'tokens': tokens}
        changes = {name: value for name, value in sizes.items() if value is not None}
        backend: dict[str, Any] = {
            'runtime': runtime,
            'threads': threads,
            'precision': precision,
        }
        if model is None and weights is None:
            raise WeightsError('give the name of a model, or weights')
        if path is not None and (path / DESCRIPTION).is_file():

            def load(official: bool) -> LoadedGraphs:
                if official or changes:
                    raise WeightsError(
                        f'{path} contains graphs that were exported without these options; give '
                        'the checkpoint'
                    )
                return open_exported_graphs(path, **backend)
        else:
            entry = _any_clip() if model is None else catalogue.model(model)
            if entry.kind != CLIP:
                raise WeightsError(f'{entry.name} is a {entry.kind}, not a {CLIP}')

            def load(official: bool) -> LoadedGraphs:
                config = {**entry.config, **changes, **({'official': True} if official else {})}
                return open_graphs(replace(entry, config=config), path, engines=engines, **backend)

        beside = path if path is not None else Path()
        return cls(load, beside, Path(tokenizer) if tokenizer is not None else None, chosen)

    def close(self) -> None:
        """Release the memory of the model."""
        for graphs, _ in self._variants.values():
            graphs.close()
        self._variants.clear()

    def _variant(self, official: bool) -> tuple[LoadedGraphs, ImageTower]:
        if official not in self._variants:
            graphs = self._load(official)
            try:
                if graphs.spec.kind != CLIP:
                    raise WeightsError(f'{graphs.spec.name} is a {graphs.spec.kind}, not a {CLIP}')
                self._variants[official] = graphs, open_tower(graphs)
            except WeightsError:
                graphs.close()
                raise
        return self._variants[official]

    def encode_texts(
        self,
        texts: Sequence[str],
        templates: Sequence[str] = TEMPLATES,
        progress: Callable[[int], object] = lambda done: None,
    ) -> TextFeatures:
        """Return the features of texts; see `TextEncoder.encode`."""
        return self._words.encode(texts, templates, progress)

    def text_features(self, texts: Texts) -> Floats:
        """Return the features [T, D] of texts, or check and normalise features that are given.

        Raises:
            TextError: the texts cannot be encoded, or the features are of another model.
        """
        if isinstance(texts, str):
            texts = [texts]
        if isinstance(texts, TextFeatures):
            texts.check(self.fingerprint, self.dim)
            texts = texts.features
        if not isinstance(texts, np.ndarray):
            return self.encode_texts(texts).features
        if texts.ndim != 2 or texts.shape[1] != self.dim or not len(texts):
            raise TextError(
                f'the text features have the shape {list(texts.shape)}, but those of '
                f'this model are [T, {self.dim}]'
            )
        features = np.asarray(texts, np.float32)
        if not np.isfinite(features).all():
            raise TextError('the text features contain numbers that are not finite')
        return unit(features)

    def image_features(self, image: NDArray[np.uint8], **options: Any) -> DenseFeatures:
        """Encode an image densely.

        Args:
            image: uint8 RGB [H, W, 3], of any aspect ratio.
            options: of `DenseOptions`, in place of those given to `open`.

        Raises:
            ImageError: it is something else.
        """
        return self._encode(image, self._options(options))

    def scores(self, image: NDArray[np.uint8], texts: Texts, **options: Any) -> Floats:
        """Score texts at every place of an image.

        Args:
            image: uint8 RGB [H, W, 3].
            texts: see `Texts`.
            options: of `DenseOptions`, in place of those given to `open`.

        Returns:
            float32 [T, h, w], cosine similarities; a place is a patch of a ViT, or 32 pixels of a
            ResNet, of the resized image. See `refine` for what the two refinements return.

        Raises:
            TextError, ImageError, ValueError: a text, the image or an option cannot be used.
        """
        chosen = self._options(options)
        words = self.text_features(texts)
        dense = self._encode(image, chosen)
        return refine(
            _similarities(words, dense), dense.keys, chosen.prompt_denoising, chosen.key_smoothing
        )

    def find(
        self,
        image: NDArray[np.uint8],
        texts: Texts,
        background: Texts | None = None,
        *,
        threshold: float = 0.5,
        contrast: float = 0.03,
        most: int = 10,
        **options: Any,
    ) -> Finds:
        """Find what texts say, as prompts for a tracker.

        Args:
            image: uint8 RGB [H, W, 3].
            texts: what to look for.
            background: what else is in the image; more such words mean fewer wrong finds. None
                or no texts: nothing else is known.
            threshold: probability that a region needs; see `find_regions`.
            contrast: how much more similar to a text a place must be than the rest of the image;
                see `probabilities`.
            most: regions to return.
            options: of `DenseOptions`; the two refinements are not used here.

        Raises:
            TextError, ImageError, ValueError: as for `scores`.
        """
        if not 0 < threshold < 1 or not 0 <= contrast <= 2 or most < 1:
            raise ValueError(
                f'threshold {threshold} is not in 0..1, contrast {contrast} not in 0..2, or most '
                f'{most} below 1'
            )
        words = self.text_features(texts)
        empty = isinstance(background, list | tuple | np.ndarray) and not len(background)
        others = words[:0]
        if background is not None and not empty:
            others = self.text_features(background)
        dense = self._encode(image, self._options(options))
        scores = _similarities(np.concatenate((words, others)), dense)
        likely = probabilities(scores, len(words), contrast)
        return find_regions(likely, image.shape[:2], dense.covered, threshold, most)

    def _options(self, changes: dict[str, Any]) -> DenseOptions:
        unknown = changes.keys() - {one.name for one in fields(DenseOptions)}
        if unknown:
            raise TypeError(f'there is no option {", ".join(sorted(unknown))}')
        return replace(self.options, **changes) if changes else self.options

    def _encode(self, image: NDArray[np.uint8], options: DenseOptions) -> DenseFeatures:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ImageError(
                f'the image is {image.dtype} {list(image.shape)}; it must be uint8 [H, W, 3]'
            )
        tower = self._variant(options.official)[1]
        height, width = image.shape[:2]
        if options.resize is True:
            height, width = tower.good_size(height, width)
        elif options.resize is not False:
            scale = options.resize / min(height, width)
            height, width = (
                max(1, round(size * scale / tower.stride)) * tower.stride
                for size in (height, width)
            )
        mean, std = options.normalisation
        normalised = (resize(image, height, width).astype(np.float32) - mean) / std
        return tower.encode(normalised, options.window)


def _similarities(words: Floats, dense: DenseFeatures) -> Floats:
    channels, height, width = dense.features.shape
    found = words @ dense.features.reshape(channels, height * width)
    return np.asarray(found, np.float32).reshape(-1, height, width)


def _weights_at(path: Path) -> Path:
    """Return the checkpoint in a folder of transformers; another path as it is."""
    inside = (path / name for name in CHECKPOINTS)
    return next((file for file in inside if file.is_file()), path)


def _any_clip() -> catalogue.Model:
    """Return an entry whose architecture is left to the checkpoint."""
    return catalogue.Model('clip', CLIP, 'any CLIP', 'MIT', {}, kind=CLIP)
