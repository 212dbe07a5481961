# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Networks to ONNX graphs (needs torch and onnx)."""
