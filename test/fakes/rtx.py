# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT for RTX as one module; its builder has the interface of TensorRT and needs no GPU."""

import sys

import tensorrt_rtx_bindings
import tensorrt_rtx_libs  # noqa: F401 - loads the libraries

sys.modules[__name__] = tensorrt_rtx_bindings
