# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Runs a tracker on a sequence with ground truth and scores every object, as in DAVIS.

Semi-supervised DAVIS: objects are prompted on the first frame; that frame and the last one are not
scored; each object is scored separately, in the label image, where each pixel belongs to one
object. An object that appears later is prompted on the first frame with its label and scored from
the next frame on, as in YouTube-VOS.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tam_ros.evaluation.boundary import contour_accuracy
from tam_ros.evaluation.dataset import DatasetError, TruthSequence
from tam_ros.evaluation.jaccard import VOID, region_similarity
from tam_ros.evaluation.prompts import prompt_from_truth
from tam_ros.evaluation.statistics import decay, last_quarter, recall
from tam_ros.tracking import FrameError, FrameResult, Prompt, PromptError

RATE_HZ = 24.0
"""Frames per second assumed for sequences, which have no stamps; DAVIS was recorded at 24."""


class TrackerLike(Protocol):
    """A `tam_ros.tracking.Tracker`, or a class with the same methods."""

    def reset(self) -> None:
        """Remove all objects."""
        ...

    def step(self, image: np.ndarray, stamp: float, prompts: list[Prompt]) -> FrameResult:
        """Track into the next image; only the label image of the result is scored."""
        ...


@dataclass
class ObjectScores:
    """J and F of one object.

    Attributes:
        object_id: its label in the truth.
        prompted_frame: index of the frame on which it was prompted.
        prompted_j: J of that frame, which is not scored.
        frames: indices of the scored frames.
        j: region similarity on each of them.
        f: contour accuracy on each of them.
    """

    object_id: int
    prompted_frame: int
    prompted_j: float
    frames: list[int] = field(default_factory=list)
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return the scores of the object by name; J and F are means over the frames."""
        j, f = float(np.mean(self.j)), float(np.mean(self.f))
        return {
            'J': j,
            'F': f,
            'J&F': (j + f) / 2,
            'J_recall': recall(self.j),
            'F_recall': recall(self.f),
            'J_decay': decay(self.j),
            'F_decay': decay(self.f),
            'J_last_quarter': last_quarter(self.j),
            'J_prompted_frame': self.prompted_j,
        }


@dataclass
class SequenceScores:
    """The scores of one run on one sequence.

    Attributes:
        name: name of the sequence.
        objects: in order of their ids.
        step_seconds: time of each step of the tracker, seconds.
    """

    name: str
    objects: list[ObjectScores]
    step_seconds: list[float]


def evaluate_sequence(tracker: TrackerLike, sequence: TruthSequence, kind: str) -> SequenceScores:
    """Track the objects of a sequence from prompts made from its ground truth, and score them.

    Args:
        tracker: is reset first.
        sequence: video and ground truth.
        kind: kind of prompt, one of `prompts.KINDS`.

    Raises:
        DatasetError: no object has a scored frame, or the tracker refuses an image or a prompt.
    """
    tracker.reset()
    scores: dict[int, ObjectScores] = {}
    seconds: list[float] = []
    annotated = 0
    for index, (image, labels) in enumerate(sequence):
        new: list[int] = []
        masks: list[np.ndarray] = []
        if labels is not None:
            new = _new_objects(labels, scores)
            masks = [labels == number for number in new]
        begin = time.perf_counter()
        try:
            prompts = [
                prompt_from_truth(kind, number, mask)
                for number, mask in zip(new, masks, strict=True)
            ]
            found = tracker.step(image, index / RATE_HZ, prompts).labels
        except (PromptError, FrameError) as error:
            raise DatasetError(f'{sequence.name}, frame {index}: {error}') from error
        seconds.append(time.perf_counter() - begin)
        if labels is None:
            continue
        annotated = index
        void = labels == VOID
        for number, item in scores.items():
            item.frames.append(index)
            item.j.append(region_similarity(labels == number, found == number, void))
            item.f.append(contour_accuracy(labels == number, found == number, void))
        for number in new:
            j = region_similarity(labels == number, found == number, void)
            scores[number] = ObjectScores(number, index, j)
    scored = [item for _, item in sorted(scores.items()) if _without_frame(item, annotated).frames]
    if not scored:
        raise DatasetError(
            f'{sequence.name}: no object has a scored frame, between the one on which '
            'it is prompted and the last one with a mask'
        )
    return SequenceScores(sequence.name, scored, seconds)


def _new_objects(labels: np.ndarray, known: dict[int, ObjectScores]) -> list[int]:
    return sorted(set(np.unique(labels).tolist()) - known.keys() - {0, VOID})


def _without_frame(item: ObjectScores, index: int) -> ObjectScores:
    """Remove the scores of a frame if it is the last scored frame."""
    if item.frames and item.frames[-1] == index:
        for values in (item.frames, item.j, item.f):
            values.pop()
    return item
