# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Write trained weights as they are shipped: fp16 safetensors under the official names.

    python -m training.package training/out/nano/last.pt efficienttam_nano.safetensors
    python -m training.package seed1/last.pt seed2/last.pt efficienttam_nano.safetensors

Rounding to fp16 halves the file; the runtimes compute in fp32 as before. Of several runs that
began with the same weights, the mean is written (a "model soup", arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.efficienttam import EfficientTAM


def package(checkpoints: Sequence[Path], out: Path) -> Path:
    """Convert a training checkpoint, or the mean of several; their averaged weights are taken.

    Raises:
        ValueError: the checkpoints are of different networks, or a value does not fit fp16.
    """
    states = [torch.load(path, map_location='cpu', weights_only=True) for path in checkpoints]
    config = states[0]['config']
    for path, state in zip(checkpoints, states, strict=True):
        if state['config'] != config:
            raise ValueError(f'{path}: another network than that of {checkpoints[0]}')
    mean = {
        name: torch.stack([state['model'][name].float() for state in states]).mean(0)
        for name in states[0]['model']
    }
    EfficientTAM(EfficientTAMConfig(**config)).load_state_dict(mean)
    half = {name: value.half().contiguous() for name, value in mean.items()}
    broken = [name for name, value in half.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f'{", ".join(broken[:4])}: values too large for fp16')
    runs = [state['progress'] for state in states]
    save_file(
        half,
        out,
        {
            'architecture': 'efficienttam',
            'config': repr(config),
            'licence': 'Apache-2.0',
            'training_steps': ', '.join(str(run['step']) for run in runs),
            'training_minutes': ', '.join(f'{run["seconds"] / 60:.0f}' for run in runs),
        },
    )
    return out


def main(argv: list[str] | None = None) -> None:
    """Convert from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('checkpoints', type=Path, nargs='+')
    parser.add_argument('out', type=Path)
    args = parser.parse_args(argv)
    path = package(args.checkpoints, args.out)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
