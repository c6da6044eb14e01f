"""COCO-format data: where it is, what is in it, and how it reaches ultralytics' loaders."""

from swin_yolo.data.coco import CocoIndex, check_same_categories
from swin_yolo.data.config import DatasetConfig, Split, load_config
from swin_yolo.data.dataset import CocoDataset
from swin_yolo.data.demo import make_demo

__all__ = ["CocoDataset", "CocoIndex", "DatasetConfig", "Split", "check_same_categories", "load_config", "make_demo"]
