# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page: prompt the tracking node from a browser, such as that of a phone; see docs/page.md."""
