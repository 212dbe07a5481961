# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT: engines built from ONNX graphs on this machine, checked, cached and run; no torch."""
