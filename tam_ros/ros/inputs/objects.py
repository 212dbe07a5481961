# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Removal of objects: ~/remove_object and ~/reset."""

from __future__ import annotations

from std_srvs.srv import Trigger

from tam_ros.ros.inputs.source import PromptSource
from tam_ros.srv import RemoveObject


class ObjectServices(PromptSource):
    """Removes one or all objects."""

    def start(self) -> None:
        """Offer ~/remove_object and ~/reset."""
        self.port.serve(RemoveObject, '~/remove_object', self._on_remove_object)
        self.port.serve(Trigger, '~/reset', self._on_reset)

    def _on_remove_object(
        self, request: RemoveObject.Request, response: RemoveObject.Response
    ) -> None:
        answer = self.port.call_in_tracker(
            lambda session: session.remove(request.object_id), also_inactive=True
        )
        if answer.success:
            self.port.log(f'~/remove_object: object {request.object_id} is removed')
        response.success, response.message = answer.success, answer.message

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> None:
        answer = self.port.reset()
        if answer.success:
            self.port.log('~/reset: all objects are removed, ids begin at 1 again')
        response.success, response.message = answer.success, answer.message
