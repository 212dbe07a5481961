# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a plan belongs to: a graph, a GPU and a TensorRT, all of them exactly."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tam_ros.tensorrt.device import DeviceInfo

FORMAT = 1  # of plans and their records: what is kept beside a plan and how it is built

_TEGRA = Path('/etc/nv_tegra_release')
_BOARD = Path('/proc/device-tree/model')


@dataclass(frozen=True)
class Machine:
    """Where plans are built and run.

    Attributes:
        tensorrt: version, all of it.
        gpu: name of the device.
        compute_capability: Orin Nano, NX and AGX are all 8.7,
        multiprocessors: which differ in this, and in what is fastest on them.
        cuda: version of the driver.
        l4t: release of Jetson Linux, such as `36.4.3`; empty elsewhere.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    cuda: str
    l4t: str

    @classmethod
    def of(cls, tensorrt: str, info: DeviceInfo, l4t: str) -> Machine:
        """Put together what the libraries say."""
        return cls(
            tensorrt,
            info.name,
            info.compute_capability,
            info.multiprocessors,
            info.driver,
            l4t,
        )

    def key(self) -> str:
        """Return what names it in files."""
        return _digest(asdict(self))[:16]


@dataclass(frozen=True)
class Identity:
    """All that must be equal for a plan to be used.

    The workspace a plan was built with is not part of it: it depends on what else ran at the time,
    and any plan computes the same. Nor are the shapes of inputs: the graph holds them, but for the
    number of objects, which a record states and which is checked where one is asked for.

    Attributes:
        model: catalogue name.
        graph: name.
        precision: that was asked for, `fp16` or `fp32`.
        onnx_sha256: of the graph of that precision.
        machine: see there.
        format: `FORMAT`.
    """

    model: str
    graph: str
    precision: str
    onnx_sha256: str
    machine: Machine
    format: int = FORMAT

    def fields(self) -> dict[str, str | int]:
        """Return all of it, flat."""
        values = asdict(self)
        machine = values.pop('machine')
        return values | machine

    def key(self) -> str:
        """Return the SHA-256 of all of it, hexadecimal."""
        return _digest(self.fields())

    def differences(self, other: dict[str, str | int]) -> list[str]:
        """Say where fields of another identity differ, in the words of a log."""
        return [
            f'{name} is {_short(other.get(name))}, not {_short(value)}'
            for name, value in self.fields().items()
            if other.get(name) != value
        ]


def _short(value: str | int | None) -> str:
    text = str(value)
    return f'{text[:12]}…' if re.fullmatch('[0-9a-f]{64}', text) else text


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def l4t_release(file: Path = _TEGRA) -> str:
    """Return the release of Jetson Linux, or nothing.

    The file begins with a line such as `# R36 (release), REVISION: 4.3, GCID: ...`.
    """
    try:
        text = file.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
    found = re.search(r'R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)', text)
    return f'{found[1]}.{found[2]}' if found else ''


def jetpack(l4t: str) -> str:
    """Return the JetPack line that a release of Jetson Linux belongs to, or nothing."""
    return {'35': '5', '36': '6', '38': '7', '39': '7'}.get(l4t.split('.')[0], '')


def board(file: Path = _BOARD) -> str:
    """Return the name of the board as the device tree has it, or nothing."""
    try:
        return file.read_bytes().rstrip(b'\0').decode('utf-8', 'replace')
    except OSError:
        return ''
