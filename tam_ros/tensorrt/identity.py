# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What an engine was built for: a graph, a GPU and a TensorRT, which must match exactly."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tam_ros.tensorrt.device import DeviceInfo

FORMAT = 1  # of engines and their records; raised when older engines must not be used

_TEGRA = Path('/etc/nv_tegra_release')
_BOARD = Path('/proc/device-tree/model')


@dataclass(frozen=True)
class Machine:
    """A machine that builds and runs engines.

    Attributes:
        tensorrt: full version.
        gpu: name of the device.
        compute_capability: such as `8.7`.
        multiprocessors: number of them. Orin Nano, NX and AGX share one compute capability and
            differ in this, and in which kernels are fastest.
        cuda: version of the driver.
        l4t: release of Jetson Linux, such as `36.4.3`; empty on other systems.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    cuda: str
    l4t: str

    @classmethod
    def of(cls, tensorrt: str, info: DeviceInfo, l4t: str) -> Machine:
        """Return the machine with this TensorRT, device and release of Jetson Linux."""
        return cls(
            tensorrt,
            info.name,
            info.compute_capability,
            info.multiprocessors,
            info.driver,
            l4t,
        )

    def key(self) -> str:
        """Return a hexadecimal key for file names."""
        return _digest(asdict(self))[:16]


@dataclass(frozen=True)
class Identity:
    """Everything that must match for an engine to be used.

    The builder's workspace is not part of it: it depends on what else ran at the time, and does
    not change what the engine computes. Nor are the shapes of inputs: they follow from the graph,
    except for the largest batch, which is in the `EngineRecord`.

    Attributes:
        model: catalogue name.
        graph: name.
        precision: the requested precision, `fp16` or `fp32`.
        onnx_sha256: SHA-256 of the graph of that precision.
        machine: the machine that built it.
        format: `FORMAT`.
    """

    model: str
    graph: str
    precision: str
    onnx_sha256: str
    machine: Machine
    format: int = FORMAT

    def fields(self) -> dict[str, str | int]:
        """Return all fields, those of the machine among them, as one flat dictionary."""
        values: dict[str, str | int] = asdict(self)
        del values['machine']
        return values | asdict(self.machine)

    def key(self) -> str:
        """Return the SHA-256 of all fields, hexadecimal."""
        return _digest(self.fields())

    def differences(self, other: dict[str, str | int]) -> list[str]:
        """Describe how the fields of another identity differ, one text for each."""
        return [
            f'{name} is {_short(other.get(name))}, not {_short(value)}'
            for name, value in self.fields().items()
            if other.get(name) != value
        ]


def _short(value: str | int | None) -> str:
    text = str(value)
    return f'{text[:12]}…' if re.fullmatch('[0-9a-f]{64}', text) else text


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def l4t_release(file: Path = _TEGRA) -> str:
    """Return the release of Jetson Linux; empty on other systems.

    The file begins with a line such as `# R36 (release), REVISION: 4.3, GCID: ...`.
    """
    try:
        text = file.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
    found = re.search(r'R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)', text)
    return f'{found[1]}.{found[2]}' if found else ''


def jetpack(l4t: str) -> str:
    """Return the major version of JetPack that a release of Jetson Linux is part of, or empty."""
    return {'35': '5', '36': '6', '38': '7', '39': '7'}.get(l4t.split('.')[0], '')


def board(file: Path = _BOARD) -> str:
    """Return the name of the board from the device tree, or empty."""
    try:
        return file.read_bytes().rstrip(b'\0').decode('utf-8', 'replace')
    except OSError:
        return ''
