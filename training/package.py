# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Write trained weights as they are shipped: fp16 safetensors under the official names.

    python -m training.package training/out/nano/last.pt efficienttam_nano.safetensors

Rounding to fp16 halves the file; the runtimes compute in fp32 as before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from tam_ros.models import EfficientTAM, EfficientTAMConfig


def package(checkpoint: Path, out: Path) -> Path:
    """Convert a training checkpoint; its averaged weights are taken.

    Raises:
        ValueError: a value does not fit fp16.
    """
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    config = EfficientTAMConfig(**state['config'])
    EfficientTAM(config).load_state_dict(state['model'])
    half = {name: value.half().contiguous() for name, value in state['model'].items()}
    broken = [name for name, value in half.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f'{", ".join(broken[:4])}: values too large for fp16')
    progress = state['progress']
    save_file(half, out, {
        'architecture': 'efficienttam', 'config': repr(state['config']),
        'training_steps': str(progress['step']),
        'training_minutes': f"{progress['seconds'] / 60:.0f}", 'licence': 'Apache-2.0'})
    return out


def main(argv: list[str] | None = None) -> None:
    """Convert from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args(argv)
    path = package(args.checkpoint, args.out)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
