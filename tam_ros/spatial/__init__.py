"""Cameras and the places of objects in space; numpy and OpenCV only."""

from tam_ros.spatial.camera import Camera, CameraError

__all__ = ['Camera', 'CameraError']
