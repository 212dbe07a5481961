# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT for RTX under one name: its builder needs no GPU and has the interface of TensorRT."""

import sys

import tensorrt_rtx_bindings
import tensorrt_rtx_libs  # noqa: F401 - loads the libraries

sys.modules[__name__] = tensorrt_rtx_bindings
