# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Objects that a detector finds in a recording, under the rules of the node's ~/detections."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

from tam_ros.detection import Detector
from tam_ros.prompting.detection_filter import FilterRules, select
from tam_ros.prompting.detections import DetectionRules, Detections
from tam_ros.prompting.mask_or_box import as_detections, mask_or_box
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import PromptRequest
from tam_ros.recordings.timeline import TimedFrame
from tam_ros.tracking import FrameResult, Prompt, PromptError, Tracker, TrackerOptions

# As the defaults of the node, except that one look confirms: it is many frames to the next one.
RULES = DetectionRules(box_iou=0.4, mask_iou=0.4, confirm=1, cooldown=1.0, reprompt=True)
_ANY_AGE = 1e9  # seconds; how many images are kept is limited by their number

_log = logging.getLogger(__name__)


def with_late_prompts(options: TrackerOptions) -> TrackerOptions:
    """Return options with which a tracker accepts prompts for the image before."""
    return replace(options, prompt_history_seconds=_ANY_AGE, prompt_history_frames=2)


class DetectedObjects:
    """Looks at some frames of a recording and prompts a tracker with what is new.

    Detections are compared with the masks of the frame that they were made on, so a new object
    is prompted when that frame has been tracked, and is in the results from the next frame on.

    Attributes:
        names: class names of the objects that were found, by id.
    """

    def __init__(
        self,
        detector: Detector,
        tracker: Tracker,
        limit: int,
        every: int = 30,
        rules: DetectionRules = RULES,
    ) -> None:
        """Look with a detector; it is not closed here.

        Args:
            detector: its options say which detections it reports.
            tracker: opened with `with_late_prompts`.
            limit: objects that the tracker has room for.
            every: tracked frames from one look to the next.
            rules: which detections become objects.
        """
        self.names: dict[int, str] = {}
        self._detector = detector
        self._tracker = tracker
        self._limit = limit
        self._every = every
        self._rules = rules
        self._detections = Detections()
        self._published = PublishedImages()
        self._refused: Counter[str] = Counter()
        self._used: set[int] = set()
        self._tracked = 0  # frames

    def prompts(self, timed: TimedFrame, result: FrameResult) -> list[Prompt]:
        """Return the prompts for new objects on a frame that has just been tracked."""
        frame = timed.frame
        stamp_ns = frame.header.stamp_ns
        if timed.restarted:
            self._published.clear()
            self._detections.clear()
        self._used |= {*self._tracker.objects}
        self._published.add(result, stamp_ns, '', keep_s=0.0)
        self._tracked += 1
        if (self._tracked - 1) % self._every:
            return []
        boxes = [item.box for item in result.objects if item.box is not None]
        found = self._detector.detect(frame.rgb, boxes)
        used, _ = select(as_detections(found), result.labels.shape, FilterRules())
        tracked = {*self._tracker.objects}
        requests = self._detections.requests(
            used, stamp_ns, self._published.newest, tracked, self.names, self._rules
        )
        prompts = []
        for request in requests:
            try:
                prompt = self._prompt(request, frame.stamp, result.labels.shape)
            except PromptError as error:
                self._refused[str(error)] += 1
                self._detections.prompted(request, 0)
                continue
            self._detections.prompted(request, prompt.object_id)
            prompts.append(prompt)
        return prompts

    def _prompt(self, request: PromptRequest, stamp: float, size: tuple[int, ...]) -> Prompt:
        """Return the prompt of a request; a new object gets an id that no other one has had.

        Raises:
            PromptError: there are too many objects, or the tracker refuses it.
        """
        number = request.object_id or max(self._used, default=0) + 1
        if len(self._used) >= self._limit and not request.object_id:
            raise PromptError(f'{self._limit} objects are tracked, which is the limit')
        chosen = mask_or_box(request, self._tracker.encoded_image(stamp))
        prompt = chosen.prompt(number)
        self._tracker.check(prompt, (size[0], size[1]))
        self._used.add(number)
        self.names[number] = request.name
        name = f' ({request.name})' if request.name else ''
        _log.info(
            'object %d%s is %s', number, name, 'prompted again' if request.object_id else 'new'
        )
        return prompt

    def report(self) -> str:
        """Return what was found, in one line."""
        counts = Counter(name or 'unnamed' for name in self.names.values())
        found = ', '.join(f'{count} {name}' for name, count in counts.most_common())
        left = f'; {sum(self._refused.values())} detections refused: ' if self._refused else ''
        reason = self._refused.most_common(1)[0][0] if self._refused else ''
        return f'{self._detector.name} found {found or "nothing"}{left}{reason}'
