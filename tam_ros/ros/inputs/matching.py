# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What comes of detections, from whichever source: the one place where they become prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tam_ros.prompting.detection_filter import Detection
from tam_ros.prompting.detections import DetectionRules, Detections
from tam_ros.prompting.mask_or_box import mask_or_box
from tam_ros.prompting.session import Action, PromptRequest, TrackingSession
from tam_ros.tracking import PromptError

if TYPE_CHECKING:
    from tam_ros.ros.inputs.source import InputPort


class DetectionMatcher:
    """Prompts the tracker with those detections of a source that no tracked object matches.

    Used in the inference thread only.
    """

    def __init__(self, port: InputPort, source: str) -> None:
        """Create the matcher of a source.

        Args:
            port: of the node.
            source: its name in the log.
        """
        self._port = port
        self._source = source
        self._detections = Detections()

    def clear(self) -> None:
        """Drop the candidates and the recent prompts."""
        self._detections.clear()

    def match(
        self,
        session: TrackingSession,
        used: list[Detection],
        stamp_ns: int,
        confirm: int | None = None,
    ) -> list[int]:
        """Match detections with the tracked objects, and prompt.

        Args:
            session: tracks the objects.
            used: detections of one image, from `detection_filter.select`.
            stamp_ns: stamp of that image, nanoseconds; 0: unknown.
            confirm: looks that must contain a new object; None: as the parameter says.

        Returns:
            Ids of the objects that were prompted.
        """
        image, limit = self._port.published.at(stamp_ns), self._port.parameters.current.max_objects
        prompted = []
        for request in self._detections.requests(
            used, stamp_ns, image, session.tracked, session.names, self._rules(confirm)
        ):
            if request.action is Action.ADD and len(session.tracked) >= limit:
                self._port.refused(
                    f'detections: {limit} objects are tracked, the limit: raise max_objects',
                    repeats=True,
                )
                continue
            chosen = _chosen(session, request)
            answer = session.submit_prompt(chosen, self._port.newest_received_ns)
            self._detections.prompted(request, answer.object_id if answer.success else 0)
            if answer.success:
                prompted.append(answer.object_id)
                done = 'prompted again' if request.action is Action.REPLACE else 'added'
                name = f' ({request.name})' if request.name else ''
                self._port.log(f'{self._source}: object {answer.object_id}{name} is {done}')
            else:
                self._port.refused(f'detection refused: {answer.message}')
        return prompted

    def _rules(self, confirm: int | None) -> DetectionRules:
        parameters = self._port.parameters.current
        return DetectionRules(
            box_iou=parameters.detection_box_iou,
            mask_iou=parameters.detection_mask_iou,
            confirm=confirm or parameters.detection_confirm,
            cooldown=parameters.detection_cooldown,
            reprompt=parameters.detection_reprompt,
        )


def _chosen(session: TrackingSession, request: PromptRequest) -> PromptRequest:
    """Return a request with one prompt; the box, if the image of the mask is no longer kept."""
    if request.mask is None:
        return request
    try:
        return mask_or_box(request, session.encoded_image(request.stamp_ns))
    except PromptError:
        return request.only_box()
