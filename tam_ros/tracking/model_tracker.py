# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Base of the trackers of streams and of recordings: opens, describes and closes a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from tam_ros.closing import Closing
from tam_ros.runtime.base import DeviceMemory, Runtime
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tracking.options import TrackerOptions

_Self = TypeVar('_Self', bound='ModelTracker')


class ModelTracker(Closing):
    """A tracker that owns the runtime of its model.

    Use it in a `with` block, which releases the memory of the device at the end.
    """

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Create a tracker on a runtime, which it closes at the end; see `open`."""
        self._options = options or TrackerOptions()
        self._runtime = runtime

    @classmethod
    def open(
        cls: type[_Self],
        model: str,
        weights: str | Path | None = None,
        runtime: str = 'onnxruntime',
        *,
        threads: int | None = None,
        options: TrackerOptions | None = None,
        precision: str = 'auto',
        engines: EngineOptions | None = None,
    ) -> _Self:
        """Load a model and create a tracker on it.

        Args:
            model: catalogue name, for instance `efficienttam_ti_512x512`.
            weights: a checkpoint, a folder of exported graphs, `'untrained'`, or None for the
                bundled or downloaded weights.
            runtime: one of `tam_ros.runtime.backends.RUNTIMES`.
            threads: CPU threads; None: the library decides.
            options: see `TrackerOptions`.
            precision: see `tam_ros.loading.open_runtime`.
            engines: see `tam_ros.runtime.engine_options`.

        Raises:
            tam_ros.catalogue.UnknownModelError: no such model.
            tam_ros.model_files.WeightsError: the weights are missing, damaged or of another model.
            tam_ros.runtime.base.EngineError: a device or its engines cannot be used.
        """
        from tam_ros.loading import open_runtime

        opened = open_runtime(
            model, weights, runtime, threads, precision=precision, engines=engines
        )
        try:
            return cls(opened, options)
        except BaseException:
            opened.close()  # for instance if the device has not enough memory for the objects
            raise

    @property
    def model(self) -> str:
        """Catalogue name of the model."""
        return self._runtime.spec.name

    @property
    def runtime(self) -> str:
        """Name of the backend."""
        return self._runtime.name

    @property
    def weights(self) -> str:
        """Description of the weights for users; starts with `untrained` if they are."""
        return self._runtime.spec.weights

    @property
    def info(self) -> Mapping[str, str]:
        """Further facts about the backend by name: `device`, `precision` and more."""
        return self._runtime.info

    def device_memory(self) -> DeviceMemory | None:
        """Return the memory of the backend's device; None if the model uses that of the host."""
        return self._runtime.device_memory()

    def close(self) -> None:
        """Release the device memory of the runtime; the tracker is unusable afterwards."""
        self._runtime.close()
