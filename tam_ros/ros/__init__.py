# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node. It needs rclpy and the messages of this package, but neither torch nor TensorRT.

`track_node` puts the parts together: `inputs` for prompts, `outputs` for results, `diagnostics`,
`geometry` for depth and transforms, and `inference`, the thread that owns the tracker.
"""
