# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines: from ONNX graphs to checked plans in a cache.

A *plan* is an engine in a file: native code for one GPU and one TensorRT.
"""
