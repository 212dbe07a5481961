# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fakes of a device, of TensorRT and of a tracker, with checks that the real ones do not make."""
