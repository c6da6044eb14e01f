"""What ultralytics' dataset keeps as Python lists with an item per image, made when an item is asked for.

A list of a hundred thousand objects is copied, page by page, into every loader process that only reads it, since
reading changes the objects' reference counts; and it is pickled whole where processes are started afresh.

`rows` are the places of the images in the index, in the dataset's order.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.lazy_sequence import Item, LazySequence

Rows = range | NDArray[np.int64]

_PLAIN = re.compile(r"[^./\\:][^/\\:]*")  # one part, so that no part is left out or written otherwise
_NOWHERE = Path(os.devnull, "not-cached.npy")


class ImageList(LazySequence[Item]):
    """Items made from the rows of an index."""

    def __init__(self, index: CocoIndex, rows: Rows):
        self._index, self._rows = index, rows
        self._folder = str(index.images_dir / "x")[:-1]

    def __len__(self) -> int:
        """Number of images in use."""
        return len(self._rows)

    def at(self, i: int) -> Item:
        """Item i."""
        return self.item(int(self._rows[i]))

    @abstractmethod
    def item(self, row: int) -> Item:
        """What stands for the image in this row of the index."""

    def _path(self, row: int) -> str:
        """Path of the image as pathlib writes it, which takes longer than it takes to see that a name is plain."""
        name = self._index.file_names[row]
        return self._folder + name if _PLAIN.fullmatch(name) else str(self._index.images_dir / name)


class ImageFiles(ImageList[str]):
    """Paths of the images."""

    def item(self, row: int) -> str:
        """Path of the image."""
        return self._path(row)


class CachedImageFiles(ImageList[Path]):
    """Where decoded images are looked for and put: beside the images, or at a path that cannot exist."""

    def __init__(self, index: CocoIndex, rows: Rows, *, beside_images: bool):
        super().__init__(index, rows)
        self._beside_images = beside_images

    def item(self, row: int) -> Path:
        """Path of the .npy file."""
        return self._index.image_file(row).with_suffix(".npy") if self._beside_images else _NOWHERE


class Labels(ImageList[dict[str, Any]]):
    """Labels as ultralytics reads them from txt files; an image without boxes has 0 rows.

    Args:
        index: of the images.
        rows: of the images in use.
        classes: class indices whose boxes are left; None leaves all.
        single_cls: make every class 0.
    """

    def __init__(self, index: CocoIndex, rows: Rows, *, classes: Sequence[int] | None = None, single_cls: bool = False):
        super().__init__(index, rows)
        self._classes, self._single_cls = classes, single_cls

    def item(self, row: int) -> dict[str, Any]:
        """The label of the image, a new one each time."""
        width, height = self._index.sizes_wh[row].tolist()
        class_indices, boxes_cxcywhn = self._index.labels(row)
        if self._classes is not None:
            kept = np.isin(class_indices, self._classes)
            class_indices, boxes_cxcywhn = class_indices[kept], boxes_cxcywhn[kept]
        if self._single_cls:
            class_indices = np.zeros_like(class_indices)
        return {
            "im_file": self._path(row),
            "shape": (height, width),
            "cls": class_indices.astype(np.float32)[:, None],  # k 1
            "bboxes": boxes_cxcywhn,  # k 4
            "segments": [],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }

    def reordered(self, rows: Rows) -> "Labels":
        """The same for other rows."""
        return Labels(self._index, rows, classes=self._classes, single_cls=self._single_cls)


class SizeList(LazySequence[tuple[int, int]]):
    """(height, width) of images."""

    def __init__(self, sizes_hw: Sequence[tuple[int, int]]):
        self._sizes_hw = np.array(sizes_hw)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._sizes_hw)

    def at(self, i: int) -> tuple[int, int]:
        """Of image i."""
        height, width = self._sizes_hw[i].tolist()
        return height, width


class Kept(dict[int, Any]):
    """What is kept of some images, None for all others: a list of that is as long as there are images."""

    def __missing__(self, i: int) -> None:
        """Nothing is kept."""

    def __setitem__(self, i: int, value: Any) -> None:
        """Keep a value; None lets go of it."""
        if value is None:
            self.pop(i, None)
        else:
            super().__setitem__(i, value)
