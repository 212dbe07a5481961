# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A tracker without a model: an object is every pixel of the colour that was clicked.

`picture` draws images for it.
"""

from __future__ import annotations

import os
import time

import cv2
import numpy as np
from tracking.fake_runtime import FakeRuntime

from tam_ros.runtime.base import Candidates, Features
from tam_ros.runtime.engine_options import BuildProgress
from tam_ros.tracking import (
    EncodedImage,
    FrameError,
    FrameResult,
    ObjectState,
    Prompt,
    PromptError,
    TrackedObject,
)

SIZE = (60, 80)  # rows, columns
COLOURS = {'red': (200, 30, 30), 'green': (30, 200, 30), 'blue': (30, 30, 200)}
MAX_OBJECTS = 4
DEVICE_LOST = (255, 0, 255)  # an image whose first pixel has this colour makes the step fail


def picture(size=SIZE, **places):
    """Draw 10x10 squares by colour name at (x, y) of their upper left corner; uint8 RGB."""
    image = np.full((*size, 3), 90, np.uint8)
    for name, (x, y) in places.items():
        image[y : y + 10, x : x + 10] = COLOURS[name]
    return image


class ColourTracker:
    """Tracks single-coloured objects, with the public API of the tracker.

    It keeps the contract on which the node relies: atomic steps, increasing stamps, ids that are
    not used again, one image size while objects live, a limit of objects.
    """

    model = 'colour'
    runtime = 'none'
    weights = 'untrained'
    info = {'device': 'cpu', 'precision': 'exact'}
    late_objects = ()
    prompt_history_seconds = 1.0  # here, a prompt on a past image is applied to the present one

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.options = {}
        self.reset()
        self.clock_restarts = 0
        self.closed = False

    @classmethod
    def open(cls, model, weights, runtime, *, threads, options, precision, engines):
        if weights == 'missing':
            raise ValueError('weights missing do not exist')
        time.sleep(float(os.environ.get('COLOUR_TRACKER_OPENING', 0)))
        build(float(os.environ.get('COLOUR_TRACKER_BUILDING', 0)), engines)
        print('tracker opened', flush=True)
        return cls(delay_s=float(os.environ.get('COLOUR_TRACKER_DELAY', 0)))

    @property
    def objects(self):
        return tuple(self._colours)

    def check(self, prompt, size):
        self._check(prompt, size, len(self._colours))

    def encoded_image(self, stamp=None):
        """Return the newest image; the stamp has to be its own."""
        if self._image is None:
            raise PromptError('no encoded image is kept: no image has been tracked yet')
        if stamp is not None and abs(stamp - self._stamp) > 1e-6:
            raise PromptError('the image is not kept')
        size = self._image.shape[:2]
        return EncodedImage(ColourRuntime(), Features(None, self._image), size, self._stamp)

    def step(self, image, stamp, prompts=()):
        if self._stamp is not None and stamp <= self._stamp:
            raise FrameError('the clock does not advance')
        if self._colours and image.shape != self._shape:
            raise FrameError(f'image size changed from {self._shape} to {image.shape}')
        new = {p.object_id for p in prompts} - set(self._colours)
        for prompt in prompts:
            self._check(prompt, image.shape[:2], len(self._colours) + len(new) - 1)
        if self.delay_s:
            print(f'step at {stamp}', flush=True)  # tests wait for it
            time.sleep(self.delay_s)
        if (image[0, 0] == DEVICE_LOST).all():
            raise RuntimeError('device lost')
        self._stamp, self._shape, self._image = stamp, image.shape, image
        for prompt in prompts:
            # The tests read the output. A click beside the object does not change its colour.
            points = prompt.points_xy.tolist(), prompt.labels.tolist()
            print(f'prompt of {prompt.object_id} at {prompt.stamp}: {points}', flush=True)
            if prompt.labels.any() or prompt.mask_image is not None:
                self._colours[prompt.object_id] = self._colour(prompt, image)
            self._born.setdefault(prompt.object_id, (self._frame, stamp))
        labels = np.zeros(image.shape[:2], np.uint16)
        objects = []
        for object_id in self._colours:
            mask = self._mask(object_id, image)
            labels[mask] = object_id
            objects.append(self._describe(object_id, mask, stamp))
        self._frame += 1
        return FrameResult(stamp, self._frame - 1, labels, objects, {'colours': self.delay_s})

    def device_memory(self):
        return None

    def close(self):
        self.closed = True
        print('tracker closed', flush=True)

    def set_options(self, **options):
        if options != self.options:
            self.options = options
            print(f'options: {options}', flush=True)

    def remove(self, object_id):
        if object_id not in self._colours:
            raise PromptError(f'no object {object_id}')
        del self._colours[object_id]
        self._removed.add(object_id)

    def reset(self):
        self._colours, self._born, self._removed = {}, {}, set()
        self._stamp, self._shape, self._frame, self._image = None, None, 0, None

    def restart_clock(self):
        self._stamp = None
        self.clock_restarts += 1

    def _check(self, prompt, size, others):
        if prompt.object_id in self._removed:
            raise PromptError(f'object {prompt.object_id} was removed')
        if prompt.object_id not in self._colours and others >= MAX_OBJECTS:
            raise PromptError(f'{MAX_OBJECTS} objects are the limit')
        if prompt.stamp is not None and self._stamp is not None:
            age = self._stamp - prompt.stamp
            if age > self.prompt_history_seconds + 1e-6:
                raise PromptError(f'made {age:.3f} s before the last image')
        prompt.check_image(*size)

    def _describe(self, object_id, mask, stamp):
        rows, columns = np.nonzero(mask)
        first_frame, first_stamp = self._born[object_id]
        seen = rows.size > 0
        box = None
        if seen:
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        x0, y0, x1, y1 = box or (0, 0, 0, 0)
        return TrackedObject(
            id=object_id,
            state=ObjectState.VISIBLE if seen else ObjectState.OCCLUDED,
            score=0.9 if seen else 0.1,
            score_logit=2.2 if seen else -2.2,
            image_size=mask.shape,
            crop=mask[y0:y1, x0:x1],
            logits=np.where(mask, np.float32(5), np.float32(-5)),
            box=box,
            area=rows.size,
            centroid=(columns.mean(), rows.mean()) if seen else None,
            age_frames=self._frame - first_frame,
            age_seconds=stamp - first_stamp,
        )

    def _colour(self, prompt, image):
        return image[_anchor(prompt)]

    def _mask(self, object_id, image):
        return (image == self._colours[object_id]).all(-1)


class ColourRuntime(FakeRuntime):
    """A decoder of masks: every pixel of the colour at the first point; predicted IoU 0.75."""

    def mask_decoder(self, features, source, prompts):
        image = cv2.resize(source, (64, 64), interpolation=cv2.INTER_NEAREST)
        x, y = prompts.points[0, 0].astype(int)
        mask = (image == image[y, x]).all(-1)[2::4, 2::4]
        masks = np.tile(np.where(mask, np.float32(5), np.float32(-5)), (1, 4, 1, 1))
        ious = np.full((1, 4), 0.75, np.float32)
        return Candidates(masks, ious, np.ones((1, 1), np.float32), np.zeros((1, 4, 8)))


class RememberingTracker(ColourTracker):
    """Applies prompts to the image that they were made on, as the tracker does."""

    model = 'remembering'
    prompt_history_seconds = 2.0
    kept = 60

    def step(self, image, stamp, prompts=()):
        self._images[stamp] = image.copy()
        while len(self._images) > self.kept:
            del self._images[min(self._images)]
        return super().step(image, stamp, prompts)

    def reset(self):
        super().reset()
        self._images = {}

    def _colour(self, prompt, image):
        if prompt.stamp is not None:
            nearest = min(self._images, key=lambda stamp: abs(stamp - prompt.stamp))
            image = self._images[nearest]
        return super()._colour(prompt, image)


class UnresettableTracker(ColourTracker):
    """Fails the first time that it is reset after objects were added."""

    model = 'unresettable'
    failed = False

    def reset(self):
        if not self.failed and getattr(self, '_colours', None):
            self.failed = True
            raise RuntimeError('device lost in reset')
        super().reset()


class MaskTracker(ColourTracker):
    """Shows every object where its last mask prompt was."""

    model = 'masks'

    def step(self, image, stamp, prompts=()):
        self._given.update({item.object_id: item.mask_image for item in prompts})
        return super().step(image, stamp, prompts)

    def reset(self):
        super().reset()
        self._given = {}

    def _mask(self, object_id, image):
        return np.asarray(self._given[object_id], bool)


def build(seconds, engines):
    """Pretend to build engines: report the progress, and stop if cancelled."""
    begin = time.monotonic()
    while (fraction := (time.monotonic() - begin) / seconds if seconds else 1.0) < 1:
        engines.progress(BuildProgress('mask_decoder', 1, 4, 'timing', fraction))
        if engines.cancelled():
            raise RuntimeError('building mask_decoder was cancelled')
        time.sleep(0.01)


def _anchor(prompt: Prompt) -> tuple[int, int]:
    """Return a (row, column) on the object of a prompt."""
    if prompt.mask_image is not None:
        rows, columns = np.nonzero(prompt.mask_image)
        return int(rows.mean()), int(columns.mean())
    corners = prompt.points_xy[prompt.labels >= 2]
    x, y = corners.mean(0) if len(corners) else prompt.points_xy[0]
    return round(float(y)), round(float(x))
