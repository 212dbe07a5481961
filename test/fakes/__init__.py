# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fakes of a device and of TensorRT, with checks that the real ones do not make."""
