# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fake TensorRT whose process is killed during a build, as the kernel does."""

import os
import signal

from fakes.trt import *  # noqa: F403
from fakes.trt import Builder as _Builder


class Builder(_Builder):
    def build_serialized_network(self, network, config):
        os.kill(os.getpid(), signal.SIGKILL)
