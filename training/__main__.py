# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""All stages of training: render the clips, train, plot the curves, package, export.

    python -m training --data DIR --out training/out/nano --processes 2

Every stage continues where an interrupted one stopped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path


def stages(args: argparse.Namespace) -> list[list[str]]:
    """Return the commands in order, each the name of a module and its arguments."""
    render = ['training.render', '--data', str(args.data), '--out', str(args.clips)]
    if args.share_alike:
        render.append('--share-alike')
    count = round(3000 * args.scale)
    run = str(args.out)
    return [
        [*render, '--split', 'val', '--clips', '48', '--frames', '20', '--shard', '48'],
        # Objects leave and return; otherwise the model never learns to report an absent object.
        [
            *render,
            '--clips',
            str(count),
            '--frames',
            '16',
            '--absence',
            '0.35',
            '--footage',
            '0.3',
        ],
        [
            'training.train',
            '--clips',
            str(args.clips),
            '--out',
            run,
            '--recipe',
            str(args.recipe),
            '--processes',
            str(args.processes),
            '--device',
            args.device,
            '--seed',
            str(args.seed),
        ],
        ['training.plot', run],
        ['training.package', f'{run}/last.pt', f'{run}/efficienttam_nano.safetensors'],
        [
            'tam_ros.cli',
            'export',
            'efficienttam_nano',
            '--weights',
            f'{run}/efficienttam_nano.safetensors',
            '--out',
            f'{run}/graphs',
        ],
    ]


def main(argv: list[str] | None = None) -> None:
    """Run all stages."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog='python -m training', description=main.__doc__)
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with stills/coco and training'
    )
    parser.add_argument('--clips', type=Path, default=here / 'out' / 'clips')
    parser.add_argument('--out', type=Path, default=here / 'out' / 'nano')
    parser.add_argument('--recipe', type=Path, default=here / 'recipe_cpu.yaml')
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--scale', type=float, default=1.0, help='times as many clips: 1 takes 28 GB of disk'
    )
    parser.add_argument(
        '--share-alike',
        action='store_true',
        help='use CC BY-SA images as well; the weights are then not free of share-alike terms',
    )
    args = parser.parse_args(argv)
    for command in stages(args):
        if command[0] == 'tam_ros.cli' and (args.out / 'graphs').exists():
            shutil.rmtree(args.out / 'graphs')  # exported from the weights of an earlier run
        print('python -m', ' '.join(command), flush=True)
        subprocess.run([sys.executable, '-m', *command], check=True)


if __name__ == '__main__':
    main()
