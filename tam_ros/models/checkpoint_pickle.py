# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tensors that `torch.save` wrote, which is a pickle: a program that builds objects.

`weights_only=True` runs the part of that program that makes tensors. Before version 2.6 a file
could make it run other code (CVE-2025-32434), and before 2.10 damage memory (CVE-2026-24747).
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import torch

from tam_ros.model_files import WeightsError

MINIMUM_TORCH = (2, 10)


def load_pickle(file: BinaryIO) -> Any:
    """Read what `torch.save` wrote; nothing in it is executed.

    Raises:
        WeightsError: this version of PyTorch might execute something.
        Exception: whatever PyTorch raises for a damaged file.
    """
    numbers = re.match(r'(\d+)\.(\d+)', torch.__version__)
    if numbers is None or tuple(map(int, numbers.groups())) < MINIMUM_TORCH:
        least = '.'.join(map(str, MINIMUM_TORCH))
        raise WeightsError(
            f'torch {torch.__version__} can be made to run code by a file of this kind; install '
            f'torch {least} or newer, or give a .safetensors file or a folder of exported graphs'
        )
    return torch.load(file, map_location='cpu', weights_only=True)
