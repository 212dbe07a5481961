# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Distillation: features of a larger model as targets, beside the true masks.

EdgeTAM's recipe (arXiv 2501.07256, section 3.4): single frames first, with the teacher's image
features; then clips, with its image features and what its memory attention makes of them. Teacher
and student see the same prompts, and each its own memories.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tam_ros.catalogue import model as catalogue_entry
from tam_ros.models.build import build_network
from tam_ros.models.efficienttam import EfficientTAM
from training.clips import Batch
from training.prompt_loop import learn_from_prompts
from training.streaming import LoopOutcome, Unroll, resized


def relative_error(guess: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error relative to the mean square of the target."""
    truth = truth.float()
    return (guess.float() - truth).square().mean() / truth.square().mean().clamp(min=1e-6)


class Distillation(nn.Module):
    """A frozen teacher, and two maps from the student's features to its own.

    The maps are 1x1 convolutions, learned on the way and dropped with the teacher.

    Attributes:
        rounds: clicks where both disagree, see `training.prompt_loop`; None: no prompts.
    """

    def __init__(self, teacher: EfficientTAM, student_dim: int) -> None:
        super().__init__()
        self.rounds: int | None = None
        # Not a submodule, because only the maps are trained, averaged and saved.
        self._teacher = [teacher.eval().requires_grad_(False)]
        self.image = nn.Conv2d(student_dim, teacher.config.dim, 1)
        self.memory = nn.Conv2d(student_dim, teacher.config.dim, 1)
        self._sized: dict[int, Unroll] = {}

    @classmethod
    def of(cls, name: str, weights: Path | str, student_dim: int) -> Distillation:
        """Build one with a model of the catalogue as teacher.

        Args:
            name: of the catalogue.
            weights: its checkpoint, or `'untrained'`.
            student_dim: channels of the student's features.

        Raises:
            tam_ros.runtime.WeightsError: see `build_network`.
        """
        return cls(build_network(catalogue_entry(name), weights), student_dim)

    def to(self, *args, **kwargs) -> Distillation:
        """Move the maps and the teacher."""
        self._teacher[0].to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def image_loss(self, images: Tensor, features: Tensor) -> Tensor:
        """Compare image features.

        Args:
            images: uint8 [B, T, S, S, 3].
            features: of the student [B, T, C, G, G].
        """
        with torch.no_grad():
            target = self._unroll(images.shape[2]).encode(images)
        return relative_error(self.image(features.flatten(0, 1)), target.flatten(0, 1))

    def memory_loss(self, batch: Batch, kind: str, seed: int, conditioned: list[Tensor]) -> Tensor:
        """Compare the conditioned features of the frames after the first.

        Args:
            batch: of clips.
            kind: of the prompt on frame 0.
            seed: of the generator that made the student's prompts.
            conditioned: of the student, one [O, C, G, G] a frame.
        """
        target: list[Tensor] = []
        with torch.no_grad():
            self._unroll(batch.images.shape[2]).track(
                batch, kind, np.random.default_rng(seed), watch=target.append
            )
        return relative_error(self.memory(torch.cat(conditioned)), torch.cat(target))

    def prompt_loss(
        self,
        student: Unroll,
        images: Tensor,
        features: Tensor,
        masks: Tensor,
        rng: np.random.Generator,
    ) -> LoopOutcome | None:
        """Compare the answers to the same prompts; None: prompts are not used, or found nothing.

        Args:
            student: the network that learns.
            images: of the objects, uint8 [O, S, S, 3].
            features: of the student [O, C, G, G].
            masks: of the objects, bool [O, S, S], none empty.
            rng: source of the prompts.
        """
        if self.rounds is None:
            return None
        teacher = self._unroll(images.shape[1])
        with torch.no_grad():
            targets = teacher.encode(images[:, None])[:, 0]
        return learn_from_prompts(student, teacher, features, targets, masks, rng, self.rounds)

    def _unroll(self, size: int) -> Unroll:
        if size not in self._sized:
            self._sized[size] = Unroll(resized(self._teacher[0], size))
        return self._sized[size]
