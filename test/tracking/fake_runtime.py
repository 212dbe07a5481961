# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A runtime without a network: it computes masks by a simple rule and records its calls."""

from __future__ import annotations

import numpy as np

from tam_ros.model_files import TrackerSpec
from tam_ros.runtime.base import Candidates, Features, Runtime

SPEC = TrackerSpec(
    name='fake',
    weights='none',
    fingerprint='fake',
    image_size=64,
    dim=8,
    memory_tokens=16,
    memory_dim=4,
    slots=7,
    pointer_slots=16,
    point_tokens=8,
    pooled=False,
    dense_prompt_prior=False,
    mask_downsample_weight=(1 / 16,) * 16,
    mask_downsample_bias=0.0,
)


class FakeRuntime(Runtime):
    """The mask of a prompt is a square around its first point; tracking keeps it in place.

    The object pointer holds the centre of the square, from which tracking reads it, and the index
    of the candidate mask. `present` says whether tracked objects are in the image; `fail_in` names
    the function that raises an error.
    """

    name = 'fake'

    def __init__(self, spec: TrackerSpec = SPEC) -> None:
        self.spec = spec
        self.present = True
        self.fail_in: str | None = None
        self.closed = False
        self.calls: list[tuple[str, int]] = []
        self.banks: list = []
        self.prompts: list = []
        self.prompted: list = []
        self.stored: list = []
        self.stores = 0

    def allocate(self, rows, memory_slots, pointer_slots, images=1):
        self.memories = np.zeros((rows, memory_slots, 16, 4), np.float32)
        self.pointers = np.zeros((rows, pointer_slots, 8), np.float32)

    def _called(self, name, objects):
        if self.fail_in == name:
            raise RuntimeError('device lost')
        self.calls.append((name, objects))

    def image_encoder(self, image):
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        self._called('image_encoder', 1)
        return Features('raw', 'without_memory')

    def _attend(self, features, bank, pooled):
        self._called('memory_attention', len(bank.rows))
        self.banks.append(bank)
        # The newest pointer counts; it holds the centre and the number of the call that stored it.
        seen = [
            self.pointers[row, slots[valid > 0]]
            for row, slots, valid in zip(
                bank.rows, bank.pointer_slots, bank.pointer_valid, strict=True
            )
        ]
        return [pointers[pointers[:, 3].argmax(), :2] for pointers in seen]

    def _merge(self, groups, parts):
        raise AssertionError('the fake is not pooled')

    def select_object(self, conditioned, index):
        return [conditioned[index]]

    def mask_decoder(self, features, source, prompts):
        objects = len(prompts.labels)
        self._called('mask_decoder', objects)
        self.prompts.append(prompts)
        masks = np.full((objects, 4, 16, 16), -5, np.float32)
        pointers = np.zeros((objects, 4, 8), np.float32)
        scores = np.zeros((objects, 1), np.float32)
        for i in range(objects):
            given = prompts.labels[i] > 0
            if given.any():
                x, y = prompts.points[i][given][0] / 4
                scores[i] = 3
            else:
                x, y = (8, 8) if isinstance(source, str) else source[i]
                scores[i] = 2 if self.present else -2
            y0, x0 = int(max(y - 2, 0)), int(max(x - 2, 0))
            masks[i, :, y0 : int(y) + 3, x0 : int(x) + 3] = 5 + i
            pointers[i, :, :2] = x, y
            pointers[i, :, 2] = range(4)  # index of the candidate
        ious = np.tile(np.array([0.9, 0.1, 0.3, 0.2], np.float32), (objects, 1))
        return Candidates(masks, ious, scores, pointers)

    def memory_encoder(self, features, masks, prompted):
        assert features.raw == 'raw' and masks.shape == (len(prompted), 16, 16)
        self._called('memory_encoder', len(masks))
        self.prompted.append(prompted.tolist())
        return masks

    def store(self, rows, memory_slots, pointer_slots, memories, pointers):
        if self.fail_in == 'store':
            raise RuntimeError('device lost')
        self.stored.append((rows, memory_slots, pointer_slots))
        self.stores += 1
        pointers = pointers.copy()
        pointers[:, 3] = self.stores
        self.pointers[rows, pointer_slots] = pointers
        self.memories[rows, memory_slots] = memories[:, :4, :16].reshape(-1, 16, 4)
        self.candidates = pointers[:, 2].tolist()

    def read_row(self, row):
        return self.memories[row].copy(), self.pointers[row].copy()

    def write_row(self, row, memories, pointers):
        self.memories[row], self.pointers[row] = memories, pointers

    def close(self):
        self.closed = True
