# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Decides which boxes of an object detector become new objects.

A detector reports everything it sees several times a second; the tracker needs each object once.
Detections are matched with the tracked objects on the image that the detector processed. Only
unmatched detections become objects, after the following messages have confirmed them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tam_ros.prompting.detection_filter import Detection
from tam_ros.prompting.published_images import Box, PublishedImage, ShownObject
from tam_ros.prompting.session import Action, PromptRequest
from tam_ros.tracking import ObjectState


@dataclass(frozen=True)
class DetectionRules:
    """Rules for which of the selected detections become objects.

    Attributes:
        box_iou: a detection matches a tracked object if the intersection over union of their
            boxes is at least this. Higher values add more duplicates of tracked objects.
        mask_iou: the same for the object's mask and the detection's box, since a few stray pixels
            of a mask can make its box far too large.
        confirm: consecutive messages that must contain a new object before it is added. Higher
            values reject flickering detections, and add objects later.
        cooldown: seconds of image time after a prompt during which no other prompt is made at the
            same place.
        reprompt: whether a detection at the last position of a lost object, with the same name,
            restarts that object under its id. Otherwise it becomes a new object.
    """

    box_iou: float
    mask_iou: float
    confirm: int
    cooldown: float
    reprompt: bool


@dataclass(frozen=True)
class _Candidate:
    """A detected box that is not an object yet.

    Attributes:
        box: box of the newest detection.
        seen: consecutive messages that contained it.
    """

    box: Box
    seen: int = 1


@dataclass(frozen=True)
class _RecentPrompt:
    """A prompt made from a detection.

    Attributes:
        box: box of the newest detection of that object.
        stamp_ns: stamp of the image of the prompt, nanoseconds.
        object_id: id of its object; 0: the prompt was refused.
    """

    box: Box
    stamp_ns: int
    object_id: int


_Boxed = TypeVar('_Boxed', _Candidate, _RecentPrompt)


class Detections:
    """Matches a stream of detections with the tracked objects."""

    def __init__(self) -> None:
        self._candidates: list[_Candidate] = []
        self._prompted: list[_RecentPrompt] = []
        self._newest_ns = 0

    def clear(self) -> None:
        """Forget all candidates and recent prompts."""
        self._candidates, self._prompted = [], []

    def requests(
        self,
        detections: Iterable[Detection],
        stamp_ns: int,
        image: PublishedImage,
        tracked: Collection[int],
        names: Mapping[int, str],
        rules: DetectionRules,
    ) -> list[PromptRequest]:
        """Return the requests that the detections of one image make, highest score first.

        Each request holds the box of one detection, and its mask if it has one: `mask_or_box`
        decides between the two. Call `prompted` for each of them.

        Args:
            detections: the detections of the image that `detection_filter.select` returned.
            stamp_ns: stamp of the image, nanoseconds; 0: unknown; the stamp of `image` is used.
            image: the published image with that stamp, or the nearest to it.
            tracked: ids of the objects that are tracked or waiting for their first image.
            names: names of the objects that have one, by id.
            rules: the rules to apply.
        """
        now = stamp_ns or image.stamp_ns
        if now < self._newest_ns:
            self.clear()  # a bag was restarted
        self._newest_ns = now
        self._expire(now, image, tracked, rules)
        shown = {number: image.objects[number] for number in tracked if number in image.objects}
        visible = [item for item in shown.values() if item.mask is not None]
        hidden = [(number, item) for number, item in shown.items() if item.mask is None]
        unmatched = [
            one
            for one in detections
            if not any(_matches(item, one.box, rules) for item in visible)
        ]

        candidates: list[_Candidate] = []
        requests: list[PromptRequest] = []
        for one in unmatched:
            number = _lost_object(one, hidden, names, rules)
            if number is None or self._was_prompted(one, rules):
                continue
            if _nearest(candidates, one.box, rules.box_iou):
                continue  # a second box of the same object
            before = _nearest(self._candidates, one.box, rules.box_iou)
            candidate = _Candidate(one.box, before.seen + 1 if before else 1)
            candidates.append(candidate)
            if candidate.seen >= rules.confirm:
                action = Action.REPLACE if number else Action.ADD
                requests.append(
                    PromptRequest(action, number, now, one.label, box=one.box, mask=one.mask)
                )
        self._candidates = candidates
        return requests

    def prompted(self, request: PromptRequest, object_id: int) -> None:
        """Record the outcome of a request.

        Args:
            request: returned by `requests`.
            object_id: id of its object; 0: the request was refused.
        """
        assert request.box is not None
        self._prompted.append(_RecentPrompt(request.box, request.stamp_ns, object_id))

    def _expire(
        self,
        now: int,
        image: PublishedImage,
        tracked: Collection[int],
        rules: DetectionRules,
    ) -> None:
        """Drop the prompts whose cooldown is over, unless their object is not shown yet."""
        self._prompted = [
            prompt
            for prompt in self._prompted
            if now - prompt.stamp_ns < rules.cooldown * 1e9
            or (prompt.object_id in tracked and prompt.object_id not in image.objects)
        ]

    def _was_prompted(self, detection: Detection, rules: DetectionRules) -> bool:
        prompt = _nearest(self._prompted, detection.box, rules.box_iou)
        if prompt is None:
            return False
        # An object that is not shown yet may move: the newest detection is its position.
        self._prompted[self._prompted.index(prompt)] = replace(prompt, box=detection.box)
        return True


def _lost_object(
    one: Detection,
    hidden: Sequence[tuple[int, ShownObject]],
    names: Mapping[int, str],
    rules: DetectionRules,
) -> int | None:
    """Return the lost object that a detection restarts; 0: it is a new object.

    None: it is an occluded object, which the tracker will find again on its own.
    """
    found = 0
    for number, item in hidden:
        if item.box is None or _iou(item.box, one.box) < rules.box_iou:
            continue
        name = names.get(number, '')
        if item.state is not ObjectState.LOST:
            if name in ('', one.label):
                return None
        elif rules.reprompt and name and name == one.label:
            found = number
    return found


def _matches(item: ShownObject, box: Box, rules: DetectionRules) -> bool:
    """Return whether a detected box is that of a visible object."""
    assert item.box is not None and item.mask is not None
    if _iou(item.box, box) >= rules.box_iou:
        return True
    return _mask_iou(item.mask, item.box, box) >= rules.mask_iou


def _nearest(items: Sequence[_Boxed], box: Box, min_iou: float) -> _Boxed | None:
    """Return the item whose box overlaps `box` most; None below `min_iou`."""
    best = max(items, key=lambda item: _iou(item.box, box), default=None)
    return best if best is not None and _iou(best.box, box) >= min_iou else None


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / (_area(a) + _area(b) - shared)


def _mask_iou(mask: NDArray[np.bool_], mask_box: Box, box: Box) -> float:
    """Return intersection over union of a sampled mask, which fills `mask_box`, and a box."""
    inside = [
        (low <= samples) & (samples < high)
        for low, high, samples in (
            (box[1], box[3], _centres(mask_box[1], mask_box[3], mask.shape[0])),
            (box[0], box[2], _centres(mask_box[0], mask_box[2], mask.shape[1])),
        )
    ]
    cell = _area(mask_box) / mask.size
    mask_area = int(np.count_nonzero(mask)) * cell
    shared = int(np.count_nonzero(mask[np.ix_(*inside)])) * cell
    return shared / (mask_area + _area(box) - shared)


def _centres(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Return the centres of `count` equal parts of an interval."""
    return low + (np.arange(count) + 0.5) * (high - low) / count
