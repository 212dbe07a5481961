# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node. Needs rclpy and this package's messages; knows neither torch nor TensorRT."""
