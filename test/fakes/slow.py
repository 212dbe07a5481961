# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fake TensorRT that builds until it is cancelled."""

import time

from fakes.trt import *  # noqa: F403
from fakes.trt import Builder as _Builder

STEPS = 30_000  # ten minutes


class Builder(_Builder):
    def build_serialized_network(self, network, config):
        config.progress_monitor.phase_start('Timing', None, STEPS)
        for step in range(STEPS):
            time.sleep(0.02)
            if not config.progress_monitor.step_complete('Timing', step):
                return None
        raise AssertionError('the build was not cancelled')
