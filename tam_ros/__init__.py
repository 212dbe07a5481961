# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Track Anything models (EfficientTAM, EdgeTAM) for ROS 2.

Importing this package imports nothing heavy; each sub-package states what it needs.
"""

from pkgutil import extend_path

# In a checkout the messages are generated outside the source tree; this finds tam_ros.msg there.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
