# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Topics with the results of an image. Each topic is one `Output`."""
