# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tensors of a checkpoint, whatever kind of file it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from tam_ros.model_files import MAX_WEIGHTS, WeightsError
from tam_ros.models.checkpoint_pickle import load_pickle
from tam_ros.models.torchscript_archive import is_torchscript, read_torchscript
from tam_ros.reading import reading
from tam_ros.regular_file import open_regular


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, as float32.

    It may be a `.safetensors` file, an `.npz` archive, what `torch.save` writes (the tensors or
    `{'model': tensors}`), or a TorchScript archive; nothing in any of them is executed.

    Raises:
        WeightsError: the file is missing, truncated, or not a checkpoint.
    """
    what = 'weights (truncated, or not a checkpoint?)'
    with reading(path, WeightsError, what), open_regular(path, MAX_WEIGHTS) as file:
        try:
            state = _read(file, path.suffix)
        except WeightsError as error:  # one kind of files is refused, by a reader without a path
            raise WeightsError(f'weights {path} are not read: {error}') from error
        if not isinstance(state, dict) or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
        ):
            raise WeightsError(f'weights {path} contain no state_dict')
        state = {key: value.float() for key, value in state.items()}
        damaged = [key for key, value in state.items() if not value.isfinite().all()]
        if damaged:
            raise WeightsError(
                f'weights {path} are damaged: {damaged[0][:100]!r} contains numbers that are not '
                'finite'
            )
    return state


def _read(file: BinaryIO, suffix: str) -> Any:
    if suffix == '.safetensors':
        return load(file.read(MAX_WEIGHTS))
    if suffix == '.npz':
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    if is_torchscript(file):
        return read_torchscript(file)
    state = load_pickle(file)
    return state.get('model', state) if isinstance(state, dict) else state
