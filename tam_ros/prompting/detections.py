# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which boxes of a detector become objects.

A detector speaks several times a second and of everything it sees; the tracker needs to hear of an
object once. So detections are matched to what is followed already, on the image that the detector
looked at, and only what is left over becomes an object, after it was seen again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.prompting.scenes import Box, Scene, Sight
from tam_ros.tracking import ObjectState

MAX_DETECTIONS = 100
"""Of one message; those with the highest scores are looked at."""


@dataclass(frozen=True)
class Detection:
    """One box of a detector.

    Attributes:
        box: x0, y0, x1, y1 in pixels.
        label: what it is, or empty.
        score: 0 to 1.
    """

    box: Box
    label: str = ''
    score: float = 1.0

    @property
    def usable(self) -> bool:
        """Whether all numbers are finite and the box is not empty."""
        x0, y0, x1, y1 = self.box
        return bool(np.isfinite((*self.box, self.score)).all()) and x1 > x0 and y1 > y0


@dataclass(frozen=True)
class DetectionRules:
    """Which detections become objects.

    Attributes:
        classes: labels that may; empty: all.
        min_score: score from which on they may. Higher adds fewer wrong objects, later.
        box_iou: a detection is a followed object whose box it overlaps this much, intersection
            over union. Higher takes more of them for new objects.
        mask_iou: the same with the mask, of which stray pixels far away make the box useless.
        confirm: messages in a row that must show a new object before it is added. Higher keeps
            flickering detections out and adds objects later.
        cooldown: seconds of image time after a prompt during which no other is made at that place.
        reprompt: whether a lost object is begun anew, under its id, by a detection with its name
            at the place where it was seen last; otherwise that is a new object.
    """

    classes: Collection[str]
    min_score: float
    box_iou: float
    mask_iou: float
    confirm: int
    cooldown: float
    reprompt: bool


@dataclass(frozen=True)
class _Place:
    """Where a prompt may come soon or came lately.

    Attributes:
        box: of the newest detection there.
        stamp_ns: of the image of the prompt; before there is one not used.
        seen: messages in a row that showed it.
        object_id: of the prompt's object; 0: there is none.
    """

    box: Box
    stamp_ns: int = 0
    seen: int = 1
    object_id: int = 0


class Detections:
    """Matches a stream of detections to what is followed."""

    def __init__(self) -> None:
        self._candidates: list[_Place] = []
        self._prompted: list[_Place] = []
        self._newest_ns = 0

    def clear(self) -> None:
        """Forget what was seen and prompted."""
        self._candidates, self._prompted = [], []

    def requests(
        self,
        detections: Iterable[Detection],
        stamp_ns: int,
        scene: Scene,
        followed: Collection[int],
        names: Mapping[int, str],
        rules: DetectionRules,
    ) -> list[PromptRequest]:
        """Return the prompts that the detections of one image ask for, highest score first.

        Each is one for the box of a detection. `prompted` must be told of every one.

        Args:
            detections: of the image, `usable` ones.
            stamp_ns: of the image, nanoseconds; 0: not known, the scene's.
            scene: what was shown of that image, or of the one nearest to it.
            followed: objects that are tracked or about to be.
            names: of the objects that have one.
            rules: of the moment.
        """
        now = stamp_ns or scene.stamp_ns
        if now < self._newest_ns:
            self.clear()  # a bag that loops
        self._newest_ns = now
        self._forget(now, scene, followed, rules)
        left = self._select(detections, scene, rules)
        sights = {number: scene.sights[number] for number in followed if number in scene.sights}
        seen = [sight for sight in sights.values() if sight.mask is not None]
        unseen = [(number, sight) for number, sight in sights.items() if sight.mask is None]
        left = [one for one in left if not any(_covers(sight, one.box, rules) for sight in seen)]

        candidates: list[_Place] = []
        requests: list[PromptRequest] = []
        for one in left:
            number = _to_begin_anew(one, unseen, names, rules)
            if number is None or self._was_prompted(one, rules):
                continue
            if _nearest(candidates, one.box, rules.box_iou):
                continue  # two boxes for one thing
            before = _nearest(self._candidates, one.box, rules.box_iou)
            place = _Place(one.box, seen=before.seen + 1 if before else 1)
            candidates.append(place)
            if place.seen >= rules.confirm:
                action = Action.REPLACE if number else Action.ADD
                requests.append(PromptRequest(action, number, now, one.label, box=one.box))
        self._candidates = candidates
        return requests

    def prompted(self, request: PromptRequest, object_id: int) -> None:
        """Take note of what became of a request.

        Args:
            request: one of those that `requests` returned.
            object_id: of its object; 0: it was refused.
        """
        assert request.box is not None
        self._prompted.append(_Place(request.box, request.stamp_ns, object_id=object_id))

    def _forget(
        self, now: int, scene: Scene, followed: Collection[int], rules: DetectionRules
    ) -> None:
        """Let go the places that have cooled down and whose objects show for themselves."""
        self._prompted = [
            place
            for place in self._prompted
            if now - place.stamp_ns < rules.cooldown * 1e9
            or (place.object_id in followed and place.object_id not in scene.sights)
        ]

    def _was_prompted(self, detection: Detection, rules: DetectionRules) -> bool:
        place = _nearest(self._prompted, detection.box, rules.box_iou)
        if place is None:
            return False
        # An object that is not shown yet moves on; its detections tell where to.
        self._prompted[self._prompted.index(place)] = replace(place, box=detection.box)
        return True

    @staticmethod
    def _select(
        detections: Iterable[Detection], scene: Scene, rules: DetectionRules
    ) -> list[Detection]:
        """Return the detections that may become objects, cut to the image, best first."""
        height, width = scene.size
        cut = []
        for one in detections:
            if one.score < rules.min_score or (rules.classes and one.label not in rules.classes):
                continue
            x0, y0, x1, y1 = one.box
            box = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                cut.append(replace(one, box=box))
        return sorted(cut, key=lambda one: -one.score)[:MAX_DETECTIONS]


def _to_begin_anew(
    one: Detection,
    unseen: Sequence[tuple[int, Sight]],
    names: Mapping[int, str],
    rules: DetectionRules,
) -> int | None:
    """Return the lost object that a detection is; 0: none.

    None: it is one that is out of sight for a moment, which the tracker will find.
    """
    found = 0
    for number, sight in unseen:
        if sight.box is None or _iou(sight.box, one.box) < rules.box_iou:
            continue
        name = names.get(number, '')
        if sight.state is not ObjectState.LOST:
            if name in ('', one.label):
                return None
        elif rules.reprompt and name and name == one.label:
            found = number
    return found


def _covers(sight: Sight, box: Box, rules: DetectionRules) -> bool:
    """Return whether a detection is this object, which is seen."""
    assert sight.box is not None and sight.mask is not None
    if _iou(sight.box, box) >= rules.box_iou:
        return True
    return _mask_iou(sight.mask, sight.box, box) >= rules.mask_iou


def _nearest(places: Sequence[_Place], box: Box, least: float) -> _Place | None:
    best = max(places, key=lambda place: _iou(place.box, box), default=None)
    return best if best is not None and _iou(best.box, box) >= least else None


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    both = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both / (_area(a) + _area(b) - both)


def _mask_iou(mask: NDArray[np.bool_], at: Box, box: Box) -> float:
    """Return intersection over union of a mask, spread evenly over the box `at`, and a box."""
    inside = [
        (low <= places) & (places < high)
        for low, high, places in (
            (box[1], box[3], _centres(at[1], at[3], mask.shape[0])),
            (box[0], box[2], _centres(at[0], at[2], mask.shape[1])),
        )
    ]
    cell = _area(at) / mask.size
    own, both = np.count_nonzero(mask) * cell, np.count_nonzero(mask[np.ix_(*inside)]) * cell
    return both / (own + _area(box) - both)


def _centres(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Return the centres of `count` equal parts of an interval."""
    return low + (np.arange(count) + 0.5) * (high - low) / count
