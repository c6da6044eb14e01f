"""Small COCO sets for the tests of `swin_yolo.data`."""

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from swin_yolo.data.coco import CocoIndex

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_bccd = pytest.mark.skipif(not (SHARED / "bccd").is_dir(), reason="the BCCD photographs are not on this machine")

# Images out of id order, category ids with gaps, an image without boxes (id 6) and a crowd.
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 10, "file_name": "a.jpg", "width": 40, "height": 20},
        {"id": 5, "file_name": "b.jpg", "width": 30, "height": 30},
        {"id": 6, "file_name": "c.jpg", "width": 24, "height": 32},
    ],
    "annotations": [
        {"id": 17, "image_id": 5, "category_id": 7, "bbox": [3, 6, 12, 15], "area": 90.0, "iscrowd": 0},
        {"id": 18, "image_id": 10, "category_id": 1, "bbox": [10, 5, 20, 10], "area": 200.0, "iscrowd": 0},
        {"id": 19, "image_id": 10, "category_id": 3, "bbox": [0, 0, 40, 20], "area": 500.0, "iscrowd": 1},
        {"id": 21, "image_id": 5, "category_id": 3, "bbox": [0, 0, 6, 6], "area": 30.0, "iscrowd": 0},
    ],
    "categories": [{"id": 7, "name": "seven"}, {"id": 1, "name": "one"}, {"id": 3, "name": "three"}],
}


def content() -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(CONTENT)


def save(folder: Path, what: Any = CONTENT, *, name: str = "set.json") -> Path:
    """Write a JSON file as Python's json module does (NaN included)."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(what if isinstance(what, str) else json.dumps(what))
    return file


def index_of(folder: Path, what: Any = CONTENT, *, name: str = "set.json") -> CocoIndex:
    """Save and index; the images are beside the JSON."""
    return CocoIndex.from_json(save(folder, what, name=name), folder)


def save_images(folder: Path, what: dict[str, Any] = CONTENT) -> Path:
    """Write a JPEG of the right size for every image, each with a pattern of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in what["images"]:
        shape = (image["height"], image["width"], 3)
        pixels = np.random.default_rng(image["id"]).integers(0, 255, shape, dtype=np.uint8)
        cv2.imwrite(str(folder / image["file_name"]), pixels)
    return folder
