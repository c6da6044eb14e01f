"""Swin Transformer layers for any ultralytics YOLO model YAML.

Importing the package registers its layers, so that `YOLO("yolov5s-swin.yaml")` works.
"""

from .nn.register import register

__version__ = "0.1.0"

register()
