# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tensors of a TorchScript archive, read without executing anything in it.

OpenAI publishes CLIP as archives that contain a program beside its weights. `torch.jit.load` would
load the program, and `torch.load(weights_only=True)` refuses the file. An archive is a zip file:
`data.pkl` is a pickle of the modules as nested records, and `data/KEY` has the numbers of a
tensor. Pickles name the functions that rebuild their objects; those below are all that are called,
and every other name is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO

import torch
from torch import Tensor

_MAX_PICKLE = 1 << 26  # bytes of `data.pkl`; that of ViT-L/14 is far below a megabyte
_DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class _Record:
    """A module in the archive: its attributes, which are tensors, numbers and other records."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError('a module has other contents than attributes')
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    """Reads `data.pkl`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(_member(archive, f'{folder}data.pkl', _MAX_PICKLE)))
        self._archive = archive
        self._folder = folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for."""
        if module.startswith('__torch__'):
            return _Record
        if module == 'torch' and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ('collections', 'OrderedDict'): OrderedDict,
            ('torch._utils', '_rebuild_tensor_v2'): _tensor,
            ('torch.jit._pickle', 'build_intlist'): list,
            ('torch.jit._pickle', 'build_doublelist'): list,
            ('torch.jit._pickle', 'build_boollist'): list,
            ('torch.jit._pickle', 'build_tensorlist'): list,
            ('torch.jit._pickle', 'restore_type_tag'): _untagged,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f'it uses {module}.{name}, which weights do not need')
        return known[module, name]

    def persistent_load(self, reference: Any) -> Tensor:
        """Return the numbers of a tensor, one-dimensional."""
        kind, dtype, key, _, count = reference
        if kind != 'storage' or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError('it refers to something else than numbers')
        if key not in self._storages:
            data = _member(self._archive, f'{self._folder}data/{key}', count * dtype.itemsize)
            self._storages[key] = (
                torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0)
            )
        return self._storages[key]


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)  # checks that it is inside


def _untagged(value: Any, tag: str) -> Any:
    return value


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    about = archive.getinfo(name)
    if about.file_size > limit:
        raise pickle.UnpicklingError(f'{name} has {about.file_size} bytes, not at most {limit}')
    return archive.read(about)


def is_torchscript(file: BinaryIO) -> bool:
    """Return whether a file is a TorchScript archive; PyTorch tells them by the same member."""
    file.seek(0)
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    finally:
        file.seek(0)


def read_torchscript(file: BinaryIO) -> dict[str, Tensor]:
    """Return the tensors of an archive by name, as `state_dict` of its module would.

    Raises:
        Exception: of many kinds, if the file is damaged or contains something else.
    """
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith('/data.pkl'))
        root = _Unpickler(archive, pickled.removesuffix('data.pkl')).load()
    found: dict[str, Tensor] = {}
    waiting = [('', root)]
    while waiting:  # not recursive: the depth is the file's choice
        prefix, record = waiting.pop()
        for name, value in record.attributes.items():
            if isinstance(value, Tensor):
                found[f'{prefix}{name}'] = value
            elif isinstance(value, _Record):
                waiting.append((f'{prefix}{name}.', value))
    return found
