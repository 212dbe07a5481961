# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Networks to ONNX graphs (needs torch and onnx)."""

from tam_ros.export.onnx import export_model

__all__ = ['export_model']
