# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Train `efficienttam_nano` on rendered clips, on CPU cores or one GPU.

    python -m training.train --clips training/out/clips --out training/out/run --processes 2

Each CPU process uses one thread (on a busy machine two threads of one process cost more than
they give) and gradients are averaged with gloo.  SIGTERM and Ctrl-C save and end; the same
command continues where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tam_ros.models.config import CROSS_ATTENTION_KINDS, TRUNK_ATTENTIONS, EfficientTAMConfig
from tam_ros.models.efficienttam import EfficientTAM
from training import recipe as recipes
from training.clips import ClipStore, sample
from training.distil import Distillation
from training.initialise import initialise
from training.streaming import Unroll, resized
from training.validate import validate

# glibc returns big freed blocks to the kernel at once, and every step faults them in again.
MALLOC = {
    'MALLOC_MMAP_THRESHOLD_': '4294967296',
    'MALLOC_TRIM_THRESHOLD_': '4294967296',
    'MALLOC_TOP_PAD_': '268435456',
}


MUON_GAIN = 2.0  # learning rate of Muon, in learning rates of AdamW


@dataclass(frozen=True)
class Settings:
    """Everything a worker needs to know (see the command line)."""

    clips: Path
    out: Path
    config: EfficientTAMConfig
    phases: tuple[recipes.Phase, ...]
    seed: int = 0
    processes: int = 1
    device: str = 'cpu'
    save_seconds: float = 300.0
    validate_seconds: float = 600.0
    log_seconds: float = 20.0
    ema: float = 0.997
    initial: Path | None = None
    teacher: tuple[str, Path | str] | None = None
    prompt_rounds: int | None = None


@dataclass
class Progress:
    """Where a run stands; part of the checkpoint."""

    step: int = 0
    phase: int = 0
    phase_seconds: float = 0.0
    phase_steps: int = 0
    seconds: float = 0.0


def make_optimisers(
    model: EfficientTAM, maps: Distillation | None = None
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformers, AdamW for all else."""
    matrices, decayed, plain = [], [], []
    for name, parameter in model.named_parameters():
        inner = '.layers.' in name or '.blocks.' in name or '_attn_token_to_image' in name
        if parameter.ndim == 2 and inner and min(parameter.shape) >= 16:
            matrices.append(parameter)
        elif parameter.ndim >= 2 and 'embed' not in name and 'token' not in name:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    adam = torch.optim.AdamW(
        [{'params': decayed, 'weight_decay': 0.05}, {'params': plain, 'weight_decay': 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
    )
    if maps is not None:
        adam.add_param_group({'params': list(maps.parameters()), 'weight_decay': 0.0})
    muon = torch.optim.Muon(matrices, lr=1e-3, weight_decay=0.05, adjust_lr_fn='match_rms_adamw')
    return [adam, muon]


class Ema:
    """Exponential moving average of the parameters, which is evaluated and shipped."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model; quickly at first."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        values = list(model.state_dict().values())
        torch._foreach_lerp_(list(self.state.values()), values, weight)


class Run:
    """One process of a training run; rank 0 also logs, validates and saves."""

    def __init__(self, settings: Settings, rank: int = 0) -> None:
        self.settings, self.rank = settings, rank
        self.device = torch.device(settings.device)
        self.model = EfficientTAM(settings.config)
        initialise(self.model, settings.seed)
        self.model.to(self.device).train()
        self.distillation = None
        if settings.teacher is not None:
            torch.manual_seed(settings.seed)  # every process starts with the same maps
            self.distillation = Distillation.of(*settings.teacher, settings.config.dim).to(
                self.device
            )
            self.distillation.rounds = settings.prompt_rounds
        self.optimisers = make_optimisers(self.model, self.distillation)
        self.parameters = [
            p
            for module in (self.model, self.distillation)
            if module is not None
            for p in module.parameters()
        ]
        self.ema = Ema(self.model, settings.ema)
        self.progress = Progress()
        self.store = ClipStore(settings.clips, 'train')
        self.sized: dict[int, EfficientTAM] = {}
        self.stop = False
        self.clock = time.perf_counter()
        self.sums: dict[str, list[float]] = defaultdict(list)
        self.checkpoint = settings.out / 'last.pt'
        if self.checkpoint.is_file():
            self.restore(torch.load(self.checkpoint, map_location=self.device, weights_only=True))
        elif settings.initial is not None:
            weights = torch.load(settings.initial, map_location=self.device, weights_only=True)
            self.model.load_state_dict(weights['model'])
            self.ema = Ema(self.model, settings.ema)

    def state(self) -> dict:
        """The checkpoint: official layout under 'model' (averaged weights), the rest beside."""
        maps = (
            {} if self.distillation is None else {'distillation': self.distillation.state_dict()}
        )
        return {
            'model': self.ema.state,
            'raw': self.model.state_dict(),
            **maps,
            'optimisers': [o.state_dict() for o in self.optimisers],
            'ema_updates': self.ema.updates,
            'progress': asdict(self.progress),
            'config': asdict(self.settings.config),
        }

    def restore(self, state: dict) -> None:
        """Continue from a checkpoint."""
        self.model.load_state_dict(state['raw'])
        if self.distillation is not None:
            self.distillation.load_state_dict(state['distillation'])
        for optimiser, saved in zip(self.optimisers, state['optimisers'], strict=True):
            optimiser.load_state_dict(saved)
        self.ema.state = dict(state['model'])
        self.ema.updates = state['ema_updates']
        self.progress = Progress(**state['progress'])

    def save(self) -> None:
        """Write the checkpoint; a crash while writing leaves the old one."""
        partial = self.checkpoint.with_suffix('.partial')
        torch.save(self.state(), partial)
        os.replace(partial, self.checkpoint)

    def averaged(self) -> EfficientTAM:
        """A network of its own with the averaged weights."""
        model = EfficientTAM(self.settings.config)
        model.load_state_dict(self.ema.state)
        return model.to(self.device).eval()

    def _loss(self, phase: recipes.Phase, done: float) -> Tensor:
        """Draw a batch and run it forward."""
        # A function of the step: an interrupted run continues with the batch it would have had.
        rng = np.random.default_rng((self.settings.seed, self.rank, self.progress.step))
        if self.progress.step % 200 == 0:
            self.store.rescan()  # rendering may still be going on
        # The same kind of step in every process, or the quick ones would wait for the slow ones.
        common = np.random.default_rng((self.settings.seed, self.progress.step))
        single = phase.frames == 1 or common.random() < phase.image_share
        clips = phase.image_clips if single and phase.frames > 1 else phase.clips
        batch = sample(
            self.store, rng, clips, 1 if single else phase.frames, phase.size, phase.objects
        ).to(self.device)
        if phase.size not in self.sized:
            self.sized[phase.size] = resized(self.model, phase.size)
        low, high = phase.positive_weight
        unroll = Unroll(self.sized[phase.size], low + (high - low) * done)
        # The composite attention has the faster backward pass on CPUs.
        fast = (
            contextlib.nullcontext()
            if self.device.type == 'cuda'
            else sdpa_kernel(SDPBackend.MATH)
        )
        with fast, torch.autocast(self.device.type, torch.bfloat16):
            outcome = unroll.learn(batch, rng, prompts=phase.prompts, teacher=self.distillation)
        self.sums['loss_image' if single else 'loss_clip'].append(outcome.loss.item())
        for name, value in outcome.scores.items():
            self.sums[name].append(value)
        return outcome.loss

    def _average_gradients(self, seconds: float) -> float:
        """Average gradients over the processes; share rank 0's step time and wish to stop."""
        if self.settings.processes == 1:
            return seconds
        parameters = self.parameters
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
            + [
                torch.tensor(
                    [seconds if self.rank == 0 else 0.0, float(self.stop and self.rank == 0)]
                )
            ]
        )
        distributed.all_reduce(flat)
        self.stop = bool(flat[-1] > 0)
        offset = 0
        for parameter in parameters:
            count = parameter.numel()
            parameter.grad = (flat[offset : offset + count] / self.settings.processes).view_as(
                parameter
            )
            offset += count
        return float(flat[-2])

    def step(self) -> None:
        """One step of all processes."""
        phase = self.settings.phases[self.progress.phase]
        done = min(phase.progress(self.progress.phase_seconds, self.progress.phase_steps), 1.0)
        loss = self._loss(phase, done)
        loss.backward()
        now = time.perf_counter()
        seconds = self._average_gradients(now - self.clock)
        self.clock = now
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        rate = phase.lr[0] + (phase.lr[1] - phase.lr[0]) * done
        rate *= min(1.0, (self.progress.step + 1) / 50)
        if torch.isfinite(norm):
            for optimiser, gain in zip(self.optimisers, (1.0, MUON_GAIN), strict=True):
                for group in optimiser.param_groups:
                    group['lr'] = gain * rate
                optimiser.step()
            self.ema.update(self.model)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        state = self.progress
        state.step += 1
        state.phase_steps += 1
        state.phase_seconds += seconds
        state.seconds += seconds
        if phase.progress(state.phase_seconds, state.phase_steps) >= 1:
            state.phase, state.phase_seconds, state.phase_steps = state.phase + 1, 0.0, 0

    @property
    def finished(self) -> bool:
        """All phases are over."""
        return self.progress.phase >= len(self.settings.phases)

    def _log(self, extra: dict[str, float] | None = None) -> None:
        """One line on the terminal, one row in `log.csv`."""
        state = self.progress
        row = {'seconds': state.seconds, 'step': state.step, 'phase': state.phase}
        row |= {k: float(np.mean(v)) for k, v in sorted(self.sums.items())} | (extra or {})
        self.sums.clear()
        print('  '.join(f'{k} {v:.4g}' for k, v in row.items()), flush=True)
        path = self.settings.out / 'log.csv'
        new = not path.exists()
        with path.open('a', newline='') as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(('seconds', 'step', 'phase', 'name', 'value'))
            for name, value in list(row.items())[3:]:
                writer.writerow(
                    (f'{state.seconds:.1f}', state.step, state.phase, name, f'{value:.5f}')
                )

    def _validate(self) -> None:
        scores = validate(self.averaged(), self.settings.clips, self.device)
        self._log({f'val_{name}': value for name, value in scores.items()})

    def train(self) -> None:
        """Run until the recipe ends or a signal comes."""
        settings = self.settings
        logged = saved = validated = time.monotonic()
        self.clock = time.perf_counter()
        while not self.finished and not self.stop:
            self.step()
            if self.rank:
                continue
            now = time.monotonic()
            if now - logged > settings.log_seconds:
                self._log()
                logged = now
            if now - saved > settings.save_seconds:
                self.save()
                saved = now
            if now - validated > settings.validate_seconds:
                self._validate()
                validated = time.monotonic()
                self.clock = time.perf_counter()  # not training time
        if self.rank == 0:
            self.save()
            if self.finished:
                self._validate()


def worker(rank: int, settings: Settings, meeting: str) -> None:
    """Run one process of the training."""
    torch.set_num_threads(1)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    if settings.processes > 1:
        distributed.init_process_group(
            'gloo', init_method=f'file://{meeting}', rank=rank, world_size=settings.processes
        )
    run = Run(settings, rank)

    def end(*_: object) -> None:
        run.stop = rank == 0

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    run.train()
    if settings.processes > 1:
        distributed.destroy_process_group()


def launch(settings: Settings) -> None:
    """Start the other processes and be the first one."""
    settings.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / 'meeting')
        context = multiprocessing.get_context('spawn')
        others = [
            context.Process(target=worker, args=(rank, settings, meeting), daemon=True)
            for rank in range(1, settings.processes)
        ]
        for process in others:
            process.start()
        worker(0, settings, meeting)
        for process in others:
            process.join()


def main(argv: list[str] | None = None) -> None:
    """Train a model from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--clips', type=Path, default=Path('training/out/clips'))
    parser.add_argument('--out', type=Path, default=Path('training/out/run'))
    parser.add_argument('--recipe', type=Path, default=Path(__file__).parent / 'recipe_cpu.yaml')
    parser.add_argument('--model', default='efficienttam_nano', help='name in the catalogue')
    parser.add_argument(
        '--cross-attention',
        choices=CROSS_ATTENTION_KINDS,
        help="train with another kind than the model's: it has no parameters",
    )
    parser.add_argument(
        '--trunk-attention',
        choices=TRUNK_ATTENTIONS,
        help="train with another trunk than the model's, an experiment",
    )
    parser.add_argument('--initial', type=Path, help='start from these weights')
    parser.add_argument('--teacher', help='learn from this model of the catalogue as well')
    parser.add_argument(
        '--teacher-weights', type=Path, help="the teacher's checkpoint, if not the downloaded one"
    )
    parser.add_argument(
        '--prompt-rounds',
        type=int,
        choices=(0, 1),
        help="learn the teacher's masks of the same prompts too, with so many clicks where the "
        'masks disagree',
    )
    parser.add_argument('--processes', type=int, default=1, help='CPU processes of one thread')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda'")
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    if args.device != 'cpu' and args.processes != 1:
        parser.error('--processes is for CPUs; a GPU takes one process')
    if args.prompt_rounds is not None and not args.teacher:
        parser.error('--prompt-rounds needs a --teacher')
    from tam_ros.catalogue import model

    for name in filter(None, (args.model, args.teacher)):
        if model(name).architecture != 'efficienttam':
            parser.error(f'{name} is no EfficientTAM; only those can be trained or teach here')
    if args.device == 'cpu' and any(os.environ.get(k) != v for k, v in MALLOC.items()):
        # Read by glibc when a process starts, so this one has to start again.
        os.execve(
            sys.executable,
            [sys.executable, '-m', 'training.train', *sys.argv[1:]],
            os.environ | MALLOC,
        )
    from tam_ros.loading import find_weights

    teacher = None
    if args.teacher:
        teacher = args.teacher, find_weights(model(args.teacher), args.teacher_weights, 'torch')
    config = dict(model(args.model).config)
    if args.cross_attention:
        config['cross_attention'] = args.cross_attention
    if args.trunk_attention:
        config['trunk_attention'] = args.trunk_attention
    launch(
        Settings(
            clips=args.clips,
            out=args.out,
            config=EfficientTAMConfig(**config),
            phases=tuple(recipes.read(args.recipe)),
            seed=args.seed,
            processes=args.processes,
            device=args.device,
            initial=args.initial,
            teacher=teacher,
            prompt_rounds=args.prompt_rounds,
        )
    )


if __name__ == '__main__':
    main()
