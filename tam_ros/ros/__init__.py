"""The ROS 2 node. Needs rclpy and this package's messages; knows neither torch nor TensorRT."""
