"""Annotation files of any size, written by and by; there are no images to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

ROWS = 10_000  # written at once
CORNERS = 24  # of a polygon; that makes a file of COCO's size
_IMAGE = (
    '{"license": 3, "file_name": "%012d.jpg", "coco_url": "http://images.example.org/train/%012d.jpg", '
    '"height": %d, "width": %d, "date_captured": "2013-11-14 11:18:45", '
    '"flickr_url": "http://farm.example.org/9001/8186255789_c84cfd3f57_z.jpg", "id": %d}'
)
_POLYGON = f'"segmentation": [[{", ".join(["%.2f"] * (2 * CORNERS))}]], '
_BOX = '"area": %.4f, "iscrowd": %d, "image_id": %d, "bbox": [%.2f, %.2f, %.2f, %.2f], "category_id": %d, "id": %d}'


@dataclass(frozen=True)
class Scale:
    """How large an annotation file is: numbers of images, of boxes and of classes, and whether boxes have polygons."""

    images: int
    boxes: int
    classes: int = 80
    polygons: bool = True

    def part(self, of: int) -> "Scale":
        """1 / `of` of it."""
        return Scale(self.images // of, self.boxes // of, self.classes, self.polygons)


COCO = Scale(118_287, 860_001)  # train2017
OBJECTS365 = Scale(1_700_000, 25_000_000, classes=365, polygons=False)


def write_coco(file: Path, scale: Scale, *, seed: int = 0) -> Path:
    """Write an annotation file; the same for the same seed, in memory that does not grow with it."""
    rng = np.random.default_rng(seed)
    wide = rng.random(scale.images) < 0.7
    sizes_wh = np.where(wide[:, None], (640, 480), (480, 640)).astype(np.int16)
    with file.open("w") as stream:
        stream.write('{"info": {"description": "synthetic"}, "licenses": [], "images": [')
        _write_rows(stream, _IMAGE, _images(sizes_wh))
        stream.write('], "annotations": [')
        _write_rows(stream, "{" + (_POLYGON if scale.polygons else "") + _BOX, _annotations(sizes_wh, scale, rng))
        categories = (
            f'{{"supercategory": "thing", "id": {k}, "name": "class {k}"}}' for k in range(1, scale.classes + 1)
        )
        stream.write(f'], "categories": [{", ".join(categories)}]}}')
    return file


def _write_rows(stream: TextIO, row: str, blocks: Iterator[np.ndarray]) -> None:
    """Write the rows of each block of numbers, with commas between all."""
    comma = ""
    for block in blocks:
        stream.write(comma + ", ".join([row] * len(block)) % tuple(block.ravel().tolist()))
        comma = ", "


def _blocks(total: int) -> Iterator[np.ndarray]:
    for start in range(0, total, ROWS):
        yield np.arange(start, min(start + ROWS, total))


def _images(sizes_wh: np.ndarray) -> Iterator[np.ndarray]:
    for i in _blocks(len(sizes_wh)):
        yield np.column_stack((i + 1, i + 1, sizes_wh[i, ::-1], i + 1))


def _annotations(sizes_wh: np.ndarray, scale: Scale, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Boxes anywhere in random images, with polygons inside them, numbered from 1."""
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    directions = np.stack((np.cos(turn), np.sin(turn)), 1)  # CORNERS 2
    for number in _blocks(scale.boxes):
        n = len(number)
        image = rng.integers(0, scale.images, n)
        wh = sizes_wh[image] * rng.uniform(0.02, 0.6, (n, 2))
        left_top = (sizes_wh[image] - wh) * rng.random((n, 2))
        columns = [wh.prod(1) * 0.7, rng.random(n) < 0.01, image + 1, left_top, wh]
        columns += [rng.integers(1, scale.classes + 1, n), number + 1]
        if scale.polygons:
            reach = rng.uniform(0.6, 1, (n, CORNERS, 1)) * directions / 2 + 0.5  # n CORNERS 2, in 0..1
            corners = left_top[:, None] + wh[:, None] * reach
            columns.insert(0, corners.reshape(n, -1))
        yield np.column_stack(columns)
