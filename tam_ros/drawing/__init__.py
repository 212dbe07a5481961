# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: overlays, colours of objects, sheets of captioned frames."""
