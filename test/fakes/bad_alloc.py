# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fake TensorRT that runs out of memory with an uncaught C++ exception."""

import os
import sys

from fakes.trt import *  # noqa: F403
from fakes.trt import Builder as _Builder


class Builder(_Builder):
    def build_serialized_network(self, network, config):
        sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
        sys.stderr.flush()
        os.abort()
