"""Videos, image folders and ROS bags in and out, without ROS installed."""
