# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts as messages: ~/prompt and ~/add_prompt."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tam_ros import msg
from tam_ros.interfaces import MAX_POINTS
from tam_ros.io.encodings import image_to_mask
from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError
from tam_ros.prompting.published_images import Box
from tam_ros.prompting.session import Action, Answer, PromptRequest
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.inputs.source import PromptSource
from tam_ros.srv import AddPrompt
from tam_ros.tracking import PromptError

_DONE = {
    Action.ADD: 'is added',
    Action.REFINE: 'is refined',
    Action.REPLACE: 'is prompted anew',
    Action.REMOVE: 'is removed',
}


class PromptTopic(PromptSource):
    """Prompts of programs, on a topic or, with an answer, through a service."""

    def start(self) -> None:
        """Subscribe to ~/prompt and offer ~/add_prompt."""
        self.port.subscribe(msg.Prompt, '~/prompt', self._on_prompt)
        self.port.serve(AddPrompt, '~/add_prompt', self._on_add_prompt)

    def _on_prompt(self, message: msg.Prompt) -> None:
        answer = self._submit(message, '~/prompt')
        if not answer.success:
            about = f'object {message.object_id}' if message.object_id else 'a new object'
            self.port.refused(f'prompt for {about} refused: {answer.message}')

    def _on_add_prompt(self, request: AddPrompt.Request, response: AddPrompt.Response) -> None:
        response.success, response.object_id, response.message = self._submit(
            request.prompt, '~/add_prompt'
        )

    def _submit(self, message: msg.Prompt, sender: str) -> Answer:
        # Not in the inference thread: reading a mask takes time.
        try:
            request = read_prompt(message, self.port.parameters.current.max_pixels)
        except PromptError as error:
            return Answer(False, message.object_id, str(error))
        answer = self.port.submit(request)
        if answer.success:
            self.port.log(f'{sender}: {describe(request, answer.object_id)}')
        return answer


def describe(request: PromptRequest, object_id: int) -> str:
    """Return what an accepted request does, such as `object 1 (mug) is added (2 points)`.

    Args:
        request: the request.
        object_id: id of its object, which may have been chosen after the request was made.
    """
    name = f' ({request.name})' if request.name else ''
    marks = [f'{len(request.points)} point{"s" * (len(request.points) > 1)}']
    marks = marks if request.points else []
    marks += ['a box'] if request.box is not None else []
    marks += ['a mask'] if request.mask is not None else []
    given = f' ({" and ".join(marks)})' if marks else ''
    if request.only_renames:
        return f'object {object_id} is now called {request.name}'
    return f'object {object_id}{name} {_DONE[request.action]}{given}'


def read_prompt(message: msg.Prompt, max_pixels: int = MAX_PIXELS) -> PromptRequest:
    """Read a prompt message, whose mask may have `max_pixels`.

    Raises:
        PromptError: the action is unknown; the prompt is empty (REFINE may have a name alone) or
            has too many points; a mask is combined with points or a box; points and labels differ
            in number; labels are not 0 or 1; the mask cannot be read.
    """
    try:
        action = Action(message.action)
    except ValueError:
        known = ', '.join(f'{action.value} {action.name}' for action in Action)
        raise PromptError(f'unknown action {message.action}; known: {known}') from None
    request = {
        'action': action,
        'object_id': message.object_id,
        'stamp_ns': stamp_ns(message.header),
        'name': message.name,
    }
    if action is not Action.ADD and message.object_id == 0:
        raise PromptError(f'{action.name} needs an object_id; 0 is only for ADD')
    if action is Action.REMOVE:
        return PromptRequest(**request)

    longest = max(len(message.points), len(message.point_labels))
    if longest > MAX_POINTS:
        raise PromptError(f'{longest} points or point_labels; the limit is {MAX_POINTS}')
    points = tuple((point.x, point.y) for point in message.points)
    labels = tuple(message.point_labels) or (1,) * len(points)
    # A box with NaN is not "no box": the tracker refuses it.
    box = tuple(float(edge) for edge in message.box)
    has_box = any(edge != 0 or math.isnan(edge) for edge in box)
    has_mask = message.mask.width > 0 or message.mask.height > 0
    if len(labels) != len(points):
        raise PromptError(
            f'{len(points)} points, but {len(labels)} point_labels: send one for each'
        )
    if wrong := set(labels) - {0, 1}:
        raise PromptError(f'point_labels are 1 (on the object) or 0 (off it), not {min(wrong)}')
    if has_mask and (points or has_box):
        raise PromptError(
            'a mask cannot be combined with points or a box: send them in another prompt'
        )
    if not (points or has_box or has_mask) and not (action is Action.REFINE and message.name):
        raise PromptError('the prompt is empty: send points, a box or a mask')
    return PromptRequest(
        **request,
        points=points,
        point_labels=labels,
        box=cast('Box', box) if has_box else None,
        mask=_read_mask(message, max_pixels) if has_mask else None,
    )


def _read_mask(message: msg.Prompt, max_pixels: int) -> NDArray[np.bool_]:
    try:
        return image_to_mask(message.mask, max_pixels)
    except ImageFormatError as error:
        raise PromptError(str(error)) from error
