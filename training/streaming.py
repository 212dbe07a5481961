# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The network unrolled over a clip exactly as the tracker runs it over a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.efficienttam import EfficientTAM
from training import losses
from training.clips import Batch
from training.prompts import (
    PromptBatch,
    corrected,
    dense_prior,
    first_prompts,
    tracking_prompt,
)

MAX_POINTERS = 16
NO_OBJECT_LOGIT = -1024.0
STABILITY_MARGIN, STABILITY_LIMIT = 0.05, 0.98


def resized(model: EfficientTAM, size: int) -> EfficientTAM:
    """The same network for another input size, sharing every parameter and stored buffer."""
    if size == model.config.image_size:
        return model
    other = EfficientTAM(replace(model.config, image_size=size))
    modules = dict(model.named_modules())
    for name, module in other.named_modules():
        twin: nn.Module = modules[name]
        module._parameters.update(twin._parameters)
        for key in module._buffers:
            if key not in module._non_persistent_buffers_set:
                module._buffers[key] = twin._buffers[key]
            else:
                module._buffers[key] = module._buffers[key].to(model.no_mem_embed.device)
    return other.train(model.training)


def choose(masks: Tensor, ious: Tensor, pointers: Tensor, single: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the candidate that the tracker would take.

    Args:
        masks: logits [O, 4, h, w].
        ious: predicted [O, 4].
        pointers: [O, 4, C].
        single: bool [O]; candidate 0 unless it is unstable.

    Returns:
        mask logits [O, 1, h, w] and pointer [O, C].
    """
    rows = torch.arange(len(masks), device=masks.device)
    best = ious[:, 1:].argmax(1) + 1
    with torch.no_grad():
        wide = (masks[:, 0] > -STABILITY_MARGIN).sum((-2, -1)).float()
        narrow = (masks[:, 0] > STABILITY_MARGIN).sum((-2, -1)).float()
        stable = torch.where(wide > 0, narrow / wide.clamp(min=1), 1.0) >= STABILITY_LIMIT
    mask_index = torch.where(single & stable, 0, best)
    pointer_index = torch.where(single, 0, best)  # official: also after the fallback
    return masks[rows, mask_index][:, None], pointers[rows, pointer_index]


@dataclass
class Bank:
    """Memories and pointers of all objects of a batch; every object starts on frame 0."""

    memories: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)

    def add(self, memory: Tensor, pointer: Tensor) -> None:
        """Append a frame: memory [O, N, M], pointer [O, C]."""
        self.memories.append(memory)
        self.pointers.append(pointer)

    def read(self, slots: int) -> tuple[Tensor, Tensor, Tensor]:
        """The conditioning frame, then the recent ones from oldest to newest.

        Returns:
            memories [O, S, N, M], temporal indices [O, S], pointers [O, P, C].
        """
        now = len(self.memories)
        recent = range(max(1, now - (slots - 1)), now)
        index = [slots - 1] + [now - frame - 1 for frame in recent]
        chosen = [self.memories[0]] + [self.memories[frame] for frame in recent]
        first = max(1, now - (MAX_POINTERS - 1))
        pointers = [self.pointers[0]] + self.pointers[first:]
        count = len(self.memories[0])
        return (
            torch.stack(chosen, 1),
            torch.tensor(index, device=chosen[0].device).expand(count, -1),
            torch.stack(pointers, 1),
        )


@dataclass
class Outcome:
    """Losses and scores of one unrolled batch.

    Attributes:
        loss: scalar to minimise.
        scores: mean IoUs by name, for the log.
        masks: logits of every frame [O, T, h, w], if asked for.
    """

    loss: Tensor
    scores: dict[str, float]
    masks: Tensor | None = None


class LoopOutcome(NamedTuple):
    """What the student can learn from the prompts.

    Attributes:
        loss: scalar to minimise.
        agreement: mean IoU of the student's and the teacher's masks, of all rounds.
        prompts: of the last round.
    """

    loss: Tensor
    agreement: float
    prompts: PromptBatch


class Teacher(Protocol):
    """What `Unroll.learn` asks of `training.distil.Distillation`."""

    def image_loss(self, images: Tensor, features: Tensor) -> Tensor:
        """Compare image features."""

    def memory_loss(self, batch: Batch, kind: str, seed: int, conditioned: list[Tensor]) -> Tensor:
        """Compare features after memory attention."""

    def prompt_loss(
        self,
        student: Unroll,
        images: Tensor,
        features: Tensor,
        masks: Tensor,
        rng: np.random.Generator,
    ) -> LoopOutcome | None:
        """Compare the answers to the same prompts, if they are used."""


class Unroll:
    """Runs batches through the network.

    Args:
        model: at the size of the batches.
        positive_weight: see `training.losses`.
        jitter: how loose boxes may be, see `first_prompts`.
    """

    def __init__(
        self, model: EfficientTAM, positive_weight: float = 0.0, jitter: float = 0.08
    ) -> None:
        self.model = model
        self.size = model.config.image_size
        self.positive_weight = positive_weight
        self.jitter = jitter

    def encode(self, images: Tensor) -> Tensor:
        """Images uint8 [B, T, S, S, 3] to features [B, T, C, G, G]."""
        model = self.model
        x = (images.flatten(0, 1).float() - model.image_mean) / model.image_std
        return model.image_encoder(x.permute(0, 3, 1, 2)).unflatten(0, images.shape[:2])

    def without_memory(self, features: Tensor) -> Tensor:
        """What the decoder gets on a frame that has no memory."""
        return features + self.model.no_mem_embed.reshape(1, -1, 1, 1)

    def decode(
        self, features: Tensor, prompts: PromptBatch, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Candidates for prompts; `previous` logits [O, 1, h, w] are the mask prompt."""
        if previous is not None:
            mask, has_mask = previous, previous.new_ones(len(previous))
        elif self.model.config.dense_prompt_prior:
            mask, has_mask = dense_prior(prompts, self.size)
        else:
            low = self.size // 4
            mask = features.new_zeros(len(features), 1, low, low)
            has_mask = features.new_zeros(len(features))
        return self.model.decode_masks(features, prompts.points, prompts.labels, mask, has_mask)

    def _loss(
        self, decoded: tuple[Tensor, ...], target: Tensor, single: Tensor, share: float = 0.15
    ) -> tuple[Tensor, Tensor]:
        masks, ious, score, _ = decoded
        return losses.decoding_loss(
            masks, ious, score, target, single, self.positive_weight, share
        )

    def segment(
        self, features: Tensor, masks: Tensor, rng: np.random.Generator, corrections: bool
    ) -> Outcome:
        """Prompted segmentation of single frames: a box or a click for each object.

        Args:
            features: of the encoder [O, C, G, G].
            masks: truth, bool [O, S, S], none empty.
            rng: source of the prompts.
            corrections: add a round with one corrective click.
        """
        target = losses.soft_targets(masks)
        kinds = ['box' if rng.random() < 0.5 else 'click' for _ in masks]
        prompts = first_prompts(masks, rng, kinds, self.jitter)
        features = self.without_memory(features)
        decoded = self.decode(features, prompts)
        loss, iou = self._loss(decoded, target, prompts.single)
        box = prompts.single
        total = loss.mean()
        if corrections:
            low, _ = choose(decoded[0], decoded[1], decoded[3], prompts.single)
            low = low.detach().float().clamp(-32, 32)
            guess = functional.interpolate(low, size=(self.size, self.size), mode='bilinear')
            more = corrected(prompts, guess[:, 0] > 0, masks, rng)
            loss, _ = self._loss(self.decode(features, more, low), target, more.single)
            total = total + 0.5 * loss.mean()
        scores = {}
        if box.any():
            scores['box'] = iou[box].mean().item()
        if not box.all():
            scores['click'] = iou[~box].mean().item()
        return Outcome(total, scores)

    def start(
        self, features: Tensor, masks: Tensor, kind: str, rng: np.random.Generator, bank: Bank
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt frame 0 of every object and put it into the bank.

        Returns:
            Loss of the frame [O], mask logits [O, 1, h, w], IoU [O].
        """
        model = self.model
        target = losses.soft_targets(masks)
        if kind == 'mask':
            given = masks[:, None].float()
            prompts = tracking_prompt(len(masks), masks.device)
            prompts.single |= True
            decoded = self.decode(features, prompts, model.mask_downsample(given))
            loss, iou = self._loss(decoded, target, prompts.single)
            loss = 0.3 * loss  # its mask is not used; its pointer and score are
            low = functional.interpolate(
                given * 20 - 10, size=target.shape[-2:], mode='bilinear', antialias=True
            )
            pointer = decoded[3][:, 0]
        else:
            prompts = first_prompts(masks, rng, [kind] * len(masks), self.jitter)
            decoded = self.decode(self.without_memory(features), prompts)
            loss, iou = self._loss(decoded, target, prompts.single)
            low, pointer = choose(decoded[0], decoded[1], decoded[3], prompts.single)
            low = torch.where((decoded[2] > 0)[..., None, None], low, NO_OBJECT_LOGIT)
        prompted = torch.ones(len(masks), device=masks.device)
        bank.add(model.encode_memory(features, low.float(), prompted), pointer)
        return loss, low, iou

    def track_frame(
        self,
        features: Tensor,
        masks: Tensor,
        bank: Bank,
        watch: Callable[[Tensor], None] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Track every object in the next frame and store its memory; returns as `start`."""
        model = self.model
        memories, index, pointers = bank.read(model.config.num_memories)
        valid = memories.new_ones(memories.shape[:2])
        pointer_valid = memories.new_ones(pointers.shape[:2])
        conditioned = model.attend_memory(
            features,
            memories,
            index,
            valid,
            pointers,
            pointer_valid,
            pooled=model.config.pooled and memories.shape[1] > 1,
        )
        if watch is not None:
            watch(conditioned)
        prompts = tracking_prompt(len(masks), masks.device)
        decoded = self.decode(conditioned, prompts)
        loss, iou = self._loss(decoded, losses.soft_targets(masks), prompts.single, share=0.3)
        low, pointer = choose(decoded[0], decoded[1], decoded[3], prompts.single)
        low = torch.where((decoded[2] > 0)[..., None, None], low, NO_OBJECT_LOGIT)
        tracked = torch.zeros(len(masks), device=masks.device)
        bank.add(model.encode_memory(features, low.float(), tracked), pointer)
        return loss, low, iou

    def track(
        self,
        batch: Batch,
        kind: str,
        rng: np.random.Generator,
        *,
        features: Tensor | None = None,
        keep: bool = False,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Outcome:
        """Prompt every object on frame 0 and track it to the end of the clip.

        Args:
            batch: clips of two frames or more.
            kind: 'mask', 'box' or 'click'.
            rng: source of the prompts.
            features: of `encode`, if they exist already.
            keep: return the masks of every frame.
            watch: called with the conditioned features [O, C, G, G] of each later frame.
        """
        features = self.encode(batch.images) if features is None else features
        bank, logits = Bank(), []
        first, low, _ = self.start(features[batch.clip_of, 0], batch.masks[:, 0], kind, rng, bank)
        logits.append(low)
        later, ious = [], []
        for frame in range(1, batch.masks.shape[1]):
            loss, low, iou = self.track_frame(
                features[batch.clip_of, frame], batch.masks[:, frame], bank, watch
            )
            later.append(loss)
            visible = batch.masks[:, frame].flatten(1).any(1)
            ious.append(iou[visible])
            if keep:
                logits.append(low)
        tracked = torch.stack(later, 1)
        scores = {f'track_{kind}': torch.cat(ious).mean().item() if len(ious) else 0.0}
        masks = torch.cat(logits, 1) if keep else None
        return Outcome(first.mean() + tracked.mean(), scores, masks)

    def learn(
        self,
        batch: Batch,
        rng: np.random.Generator,
        corrections: float = 0.3,
        prompts: tuple[float, float, float] = (0.5, 0.25, 0.25),
        teacher: Teacher | None = None,
    ) -> Outcome:
        """One training step's loss: segmentation on one frame, tracking over all.

        Args:
            batch: clips; with one frame only segmentation is trained.
            rng: source of prompts.
            corrections: probability of a round with a corrective click.
            prompts: probabilities of a mask, a box and a click as first prompt of tracking.
            teacher: whose features are to be learned too, see `training.distil`.
        """
        features = self.encode(batch.images)
        frames = batch.masks.shape[1]
        # Any frame serves segmentation where the object shows; prefer variety over frame 0.
        areas = batch.masks.flatten(2).float().mean(2).cpu().numpy()
        frame_of = np.array(
            [
                rng.choice(np.flatnonzero(row > 0.002)) if (row > 0.002).any() else 0
                for row in areas
            ]
        )
        objects = np.arange(len(areas))
        outcome = self.segment(
            features[batch.clip_of, frame_of],
            batch.masks[objects, frame_of],
            rng,
            rng.random() < corrections,
        )
        if teacher is not None:
            looped = teacher.prompt_loss(
                self,
                batch.images[batch.clip_of, frame_of],
                features[batch.clip_of, frame_of],
                batch.masks[objects, frame_of],
                rng,
            )
            if looped is not None:
                outcome = Outcome(
                    outcome.loss + looped.loss, outcome.scores | {'teacher_iou': looped.agreement}
                )
        if frames > 1:
            kind = ('mask', 'box', 'click')[rng.choice(3, p=prompts)]
            seed = int(rng.integers(1 << 31)) if teacher else None
            conditioned: list[Tensor] = []
            tracked = self.track(
                batch,
                kind,
                rng if seed is None else np.random.default_rng(seed),
                features=features,
                watch=conditioned.append if teacher else None,
            )
            outcome = Outcome(
                0.7 * outcome.loss + 1.5 * tracked.loss, outcome.scores | tracked.scores
            )
            if teacher is not None and seed is not None:
                error = teacher.memory_loss(batch, kind, seed, conditioned)
                outcome = Outcome(
                    outcome.loss + error, outcome.scores | {'teacher_memory': error.item()}
                )
        if teacher is not None:
            error = teacher.image_loss(batch.images, features)
            outcome = Outcome(
                outcome.loss + error, outcome.scores | {'teacher_image': error.item()}
            )
        return outcome
