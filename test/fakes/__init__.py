# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A device and a TensorRT that are not there, with the checks that the real ones do not make."""
