# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The contract of a detector, and the table of those that there are."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros import catalogue
from tam_ros.closing import Closing
from tam_ros.detection.detections import Detections
from tam_ros.detection.suppression import METHODS
from tam_ros.model_files import DETECTOR, WeightsError
from tam_ros.runtime.engine_options import EngineOptions

# To add a detector, write a module with `open_detector(request: DetectorRequest) -> Detector` and
# add a row here: the name of a detector without a catalogue entry, or the architecture of entries
# of the kind `detector`. The modules are named as text, since they import this one.
_MODULES = {
    'everything': 'tam_ros.detection.everything',
    'yolact': 'tam_ros.detection.yolact',
}
WITHOUT_ENTRY = ('everything',)
"""Detectors that need no catalogue entry and no weights of their own."""


@dataclass(frozen=True)
class DetectorOptions:
    """Which detections are reported.

    Attributes:
        min_score: detections need a score above this. 0 leaves it to the detector.
        classes: names of the classes that are reported; empty: all. A detector that does not name
            what it finds ignores it.
        suppression: one of `tam_ros.detection.suppression.METHODS` except `adaptive`. `noh` keeps
            boxes that overlap a better one where a tracked object is expected, see `detect`.
            Empty: that of the detector.
        iou: detections that overlap more than this are suppressed; None: that of the detector.
        across_classes: whether detections of different classes suppress each other.

    Raises:
        ValueError: a value is out of its range.
    """

    min_score: float = 0.0
    classes: tuple[str, ...] = ()
    suppression: str = ''
    iou: float | None = None
    across_classes: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.min_score < 1:
            raise ValueError(f'min_score is {self.min_score:g}; it must be at least 0 and below 1')
        methods = [method for method in METHODS if method != 'adaptive']
        if self.suppression and self.suppression not in methods:
            raise ValueError(
                f'suppression is {self.suppression!r}; choose one of {", ".join(methods)}'
            )
        if self.iou is not None and not 0 <= self.iou <= 1:
            raise ValueError(f'iou is {self.iou:g}, not 0 to 1')


@dataclass(frozen=True)
class DetectorRequest:
    """What `Detector.open` was called with.

    Attributes:
        name: see `Detector.open`, as the rest.
        weights: see there.
        runtime: see there.
        threads: see there.
        precision: see there.
        engines: see there.
        options: see there.
        settings: further arguments of this detector.
    """

    name: str
    weights: str | Path | None
    runtime: str
    threads: int | None
    precision: str
    engines: EngineOptions | None
    options: DetectorOptions
    settings: Mapping[str, Any] = field(default_factory=dict)


class Detector(Closing):
    """Finds objects in an image; used from one thread, in a `with` block.

    Attributes:
        name: catalogue name, or one of `WITHOUT_ENTRY`.
        class_names: the classes that it knows, see `Detections`.
        info: facts about what runs, for users, by name: `weights`, `device`, `precision` and more.
    """

    name: str
    class_names: tuple[str, ...]
    info: Mapping[str, str]

    @staticmethod
    def open(
        name: str,
        weights: str | Path | None = None,
        runtime: str = 'onnxruntime',
        *,
        threads: int | None = None,
        precision: str = 'auto',
        engines: EngineOptions | None = None,
        options: DetectorOptions | None = None,
        **settings: Any,
    ) -> Detector:
        """Load a detector.

        Args:
            name: a catalogue name of the kind `detector`, or `everything`.
            weights: a checkpoint, a folder of exported graphs, `'untrained'`, or None for those
                downloaded with `tam weights get`.
            runtime: one of `tam_ros.runtime.backends.RUNTIMES`.
            threads: CPU threads; None: the library decides.
            precision: see `tam_ros.loading.open_runtime`.
            engines: options for a backend that builds engines.
            options: which detections are reported.
            settings: further settings of this detector; YOLACT has none.

        Raises:
            tam_ros.catalogue.UnknownModelError: there is no such detector.
            WeightsError: the weights are missing, damaged or of another model, or the model is
                not a detector.
            EngineError: a device or its engines cannot be used.
            ValueError: there is no such runtime, precision, class or setting.
        """
        key = name
        if name not in WITHOUT_ENTRY:
            if name not in catalogue.models():
                raise catalogue.UnknownModelError(
                    f'there is no detector {name!r}; there are {", ".join(detector_names())}'
                )
            entry = catalogue.model(name)
            if entry.kind != DETECTOR:
                raise WeightsError(f'{name} is a {entry.kind}, not a detector')
            key = entry.architecture
        module = importlib.import_module(_MODULES[key])
        opened: Detector = module.open_detector(
            DetectorRequest(
                name,
                weights,
                runtime,
                threads,
                precision,
                engines,
                options or DetectorOptions(),
                settings,
            )
        )
        return opened

    @abstractmethod
    def detect(self, image: NDArray[np.uint8], tracked: Any = None) -> Detections:
        """Find the objects in an image.

        Args:
            image: RGB uint8 [H, W, 3].
            tracked: boxes [T, 4] of the objects that are tracked on this image, in its pixels.
                Only the suppression `noh` uses them: of two boxes that overlap strongly both are
                kept where two tracked objects overlap as strongly.

        Returns:
            The detections, highest score first.

        Raises:
            FrameError: it is not such an image.
        """


def detector_names() -> list[str]:
    """Return the names that `Detector.open` accepts."""
    entries = (model.name for model in catalogue.models().values() if model.kind == DETECTOR)
    return [*WITHOUT_ENTRY, *entries]
