# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's own detector: what it finds is tracked; ~/detect_once asks it once."""

from __future__ import annotations

from concurrent.futures import TimeoutError as LateError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.detection import Detections, Detector, DetectorOptions
from tam_ros.detection.in_thread import DetectorThread, Look, Pace
from tam_ros.prompting.detection_filter import FilterRules, select
from tam_ros.prompting.mask_or_box import as_detections
from tam_ros.prompting.session import Answer, TrackingSession
from tam_ros.ros.inputs.matching import DetectionMatcher
from tam_ros.ros.inputs.source import PromptSource
from tam_ros.ros.parameters import Parameters, weights_to_open
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.srv import DetectOnce
from tam_ros.tracking import FrameResult

ANSWER_S = 30.0  # how long a request waits for a detector
LEAST = 0.05  # lower scores are not worth a mask; the parameter may change while it runs
THREADS = 1  # of a CPU, so that the tracker has the others


class DetectorSource(PromptSource):
    """Runs the detector of the parameter `detector` beside the tracker."""

    def start(self) -> None:
        """Offer ~/detect_once."""
        self._thread: DetectorThread | None = None
        self._matcher = DetectionMatcher(self.port, 'detector')
        self.port.serve(DetectOnce, '~/detect_once', self._on_detect_once)

    def opened(self) -> None:
        """Start the detector, if the node has one."""
        parameters = self.port.parameters.current
        if parameters.detector:
            self._thread = DetectorThread(
                lambda: open_detector(parameters), self._found, self._pace, self._failed
            )

    def closed(self) -> None:
        """End the detector."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def clear(self) -> None:
        """Drop the candidates and the recent prompts."""
        self._matcher.clear()

    def tracked(self, image: NDArray[np.uint8], stamp_ns: int, result: FrameResult) -> None:
        """Offer a tracked image to the detector; in the inference thread."""
        if self._thread is not None:
            boxes = [item.box for item in result.objects if item.box is not None]
            self._thread.offer(Look(image, stamp_ns, boxes))

    def report(self) -> dict[str, Any]:
        """Return what the detector is and costs, for the diagnostics; empty: there is none."""
        thread = self._thread
        if thread is None:
            return {}
        cost = thread.cost
        return {
            'detector': self.port.parameters.current.detector,
            **{f'detector_{name}': value for name, value in cost.info},
            'looks': cost.looks,
            'last_look_ms': f'{1000 * cost.last_s:.0f}',
            'share_of_time': f'{cost.share:.2f}',
            'detections': cost.detections,
            'problem': cost.problem,
        }

    def _pace(self) -> Pace:
        parameters = self.port.parameters.current
        rate = parameters.detector_rate if self.port.active else 0.0
        return Pace(rate, parameters.detector_share)

    def _failed(self, problem: str) -> None:
        self.port.refused(problem, repeats=True)

    def _found(self, look: Look, found: Detections) -> None:
        """Match what was found; in the thread of the detector."""
        parameters = self.port.parameters.current
        rules = FilterRules(
            classes=frozenset(class_list(parameters.detector_classes)),
            min_score=parameters.detector_min_score,
        )

        def match(session: TrackingSession) -> None:
            self._match(session, look, found, rules)

        self.port.schedule_in_tracker(match)

    def _match(
        self,
        session: TrackingSession,
        look: Look,
        found: Detections,
        rules: FilterRules,
        confirm: int | None = None,
    ) -> tuple[int, list[int]]:
        """Return how many detections were used, and which objects were prompted."""
        if not self.port.published or not self.port.active:
            return 0, []  # all were cleared in the meantime
        used, _ = select(as_detections(found), look.image.shape[:2], rules)
        return len(used), self._matcher.match(session, used, look.stamp_ns, confirm)

    def _on_detect_once(self, request: DetectOnce.Request, response: DetectOnce.Response) -> None:
        thread = self._thread
        response.success, response.message = False, self.port.reason_not_tracking
        if response.message:
            return
        if thread is None:
            response.message = (
                'the node has no detector: set the parameter detector before it is configured, '
                'for instance to everything'
            )
            return
        parameters = self.port.parameters.current
        classes = class_list(request.classes or parameters.detector_classes)
        rules = FilterRules(frozenset(classes), request.min_score or parameters.detector_min_score)
        try:
            look, found = thread.ask().result(ANSWER_S)
        except LateError:
            response.message = f'nothing was found within {ANSWER_S:g} s: no image arrives'
            return
        except Exception as error:
            response.message = str(error)
            return
        matched: list[tuple[int, list[int]]] = []

        def match(session: TrackingSession) -> Answer:
            # A person asked: one look is enough.
            matched.append(self._match(session, look, found, rules, confirm=1))
            return Answer(True, 0, '')

        answer = self.port.call_in_tracker(match)
        response.success, response.message = answer.success, answer.message
        if answer.success:
            response.detections, response.object_ids = matched[0]


def open_detector(parameters: Parameters) -> Detector:
    """Open the detector of the parameters; everything mode uses the tracker's model.

    Raises:
        WeightsError, EngineError, OSError, ValueError: it cannot be opened.
    """
    weights = weights_to_open(parameters, parameters.detector_weights)
    settings: dict[str, Any] = {}
    if parameters.detector == 'everything':
        settings = {
            'model': parameters.model,
            'points_per_side': parameters.detector_grid,
        }
        weights = weights or weights_to_open(parameters)
    return Detector.open(
        parameters.detector,
        weights,
        parameters.runtime,
        threads=THREADS,
        precision=parameters.precision,
        engines=EngineOptions(build=parameters.build_engines),
        options=DetectorOptions(min_score=LEAST),
        **settings,
    )


def class_list(text: str) -> list[str]:
    """Return the names in a text that is divided by commas."""
    return [name for part in text.split(',') if (name := part.strip())]
