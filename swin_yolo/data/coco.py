"""COCO annotations as flat arrays: what training, scoring and reports read instead of the JSON.

n images, m boxes, nc classes. `category_id` is the JSON's number; `class_index` is its place among the sorted ids.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from ultralytics.utils import LOGGER

from swin_yolo.data.coco_arrays import BoxArrays, SplitArrays
from swin_yolo.data.file_names import FileNames
from swin_yolo.data.image_files import check_image_file
from swin_yolo.data.index_cache import read_again, read_split
from swin_yolo.errors import InputError


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """The annotations of one split, checked.

    Every category of the JSON is a class, also one without a box (such as the row for the project's name that Roboflow
    puts first): the numbers of a trained model then depend on the category list alone, not on which boxes a split has.

    The arrays of a large file are mapped from a cache (see `index_cache`), read-only, and a pickle of the index names
    that place instead of holding them: all processes of a loader share them.

    Attributes:
        annotations_file: the JSON.
        images_dir: the folder that `file_names` are relative to.
        image_ids: (n,) int64, in the JSON's order, as everything else that is per image.
        file_names: n names, made when they are asked for.
        sizes_wh: (n, 2) int32 width and height in pixels.
        category_ids: nc numbers, ascending; `category_ids[class_index]` is the category_id.
        names: nc class names.
        box_offsets: (n + 1,) int64; the boxes of image i are rows `box_offsets[i]` to `box_offsets[i + 1]`.
        boxes_xywh: (m, 4) float64 left, top, width, height in pixels as in the JSON, not clipped.
        class_indices: (m,) int32.
        iscrowd: (m,) bool.
        areas: (m,) float64 square pixels, as in the JSON (of the mask, where the set has masks).
        annotation_ids: (m,) int64.
        dropped: number of boxes left out: width or height not positive, or wholly outside the image.
        clipped: number of boxes that reach out of the image, which `labels` clips.
        entry: the cache entry that the arrays are mapped from, if any.
    """

    annotations_file: Path
    images_dir: Path
    image_ids: NDArray[np.int64]
    file_names: FileNames
    sizes_wh: NDArray[np.int32]
    category_ids: tuple[int, ...]
    names: tuple[str, ...]
    box_offsets: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    class_indices: NDArray[np.int32]
    iscrowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    annotation_ids: NDArray[np.int64]
    dropped: int
    clipped: int
    entry: Path | None

    @classmethod
    def from_json(cls, annotations_file: str | Path, images_dir: str | Path) -> "CocoIndex":
        """The index of a COCO detection file; image files are not opened (see `check_files` and `check_images`).

        A missing `iscrowd` is 0; a missing `area` is width times height. What was dropped, clipped or filled in is
        said in one warning line.

        Raises:
            InputError: anything in the file that training or scoring could only guess about.
        """
        file = Path(annotations_file)
        split, entry = read_split(file)
        _warn(file, split.boxes)
        return cls._of(split, file, Path(images_dir), entry)

    @classmethod
    def _of(cls, split: SplitArrays, annotations_file: Path, images_dir: Path, entry: Path | None) -> "CocoIndex":
        return cls(
            annotations_file=annotations_file,
            images_dir=images_dir,
            image_ids=split.image_ids,
            file_names=split.file_names,
            sizes_wh=split.sizes_wh,
            category_ids=split.category_ids,
            names=split.names,
            box_offsets=split.boxes.offsets,
            boxes_xywh=split.boxes.xywh,
            class_indices=split.boxes.class_indices,
            iscrowd=split.boxes.iscrowd,
            areas=split.boxes.areas,
            annotation_ids=split.boxes.annotation_ids,
            dropped=split.boxes.dropped,
            clipped=split.boxes.clipped,
            entry=entry,
        )

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by the name of the cache entry if there is one."""
        if self.entry is None:
            return super().__reduce__()
        return CocoIndex._opened, (self.entry, self.annotations_file, self.images_dir)

    @classmethod
    def _opened(cls, entry: Path, annotations_file: Path, images_dir: Path) -> "CocoIndex":
        split, found = read_again(entry, annotations_file)
        return cls._of(split, annotations_file, images_dir, found)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    def rows(self, i: int) -> slice:
        """Where the boxes of image i are in the arrays per box."""
        return slice(int(self.box_offsets[i]), int(self.box_offsets[i + 1]))

    def image_file(self, i: int) -> Path:
        """Path of image i."""
        return self.images_dir / self.file_names[i]

    def labels(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """What image i is trained on: its boxes without crowds, clipped to the image.

        Returns:
            (k,) class indices and (k, 4) float32 centre x, centre y, width, height as fractions of the image; k may
            be 0.
        """
        rows = self.rows(i)
        boxes_xywh, class_indices, iscrowd = self.boxes_xywh[rows], self.class_indices[rows], self.iscrowd[rows]
        if iscrowd.any():
            boxes_xywh, class_indices = boxes_xywh[~iscrowd], class_indices[~iscrowd]
        size = self.sizes_wh[i].astype(np.float64)
        left_top = boxes_xywh[:, :2]
        right_bottom = np.minimum(left_top + boxes_xywh[:, 2:], size)
        left_top = np.maximum(left_top, 0)
        boxes_cxcywhn = np.empty(boxes_xywh.shape, np.float32)
        boxes_cxcywhn[:, :2] = (left_top + right_bottom) / 2 / size
        boxes_cxcywhn[:, 2:] = (right_bottom - left_top) / size
        return class_indices, boxes_cxcywhn

    def to_coco(self) -> COCO:
        """The ground truth for pycocotools: boxes as in the JSON, crowds included.

        The id of an annotation here is its row + 1, not its id in the JSON: COCOeval takes a match with id 0 for none.
        """
        image_of_box = np.repeat(self.image_ids, np.diff(self.box_offsets)).tolist()
        category_of_box = np.asarray(self.category_ids)[self.class_indices].tolist()
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [
                {"id": image_id, "file_name": name, "width": width, "height": height}
                for image_id, name, (width, height) in zip(
                    self.image_ids.tolist(), self.file_names, self.sizes_wh.tolist(), strict=True
                )
            ],
            "categories": [
                {"id": category_id, "name": name}
                for category_id, name in zip(self.category_ids, self.names, strict=True)
            ],
            "annotations": [
                {
                    "id": row,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": box,
                    "area": area,
                    "iscrowd": crowd,
                }
                for row, (image_id, category_id, box, area, crowd) in enumerate(
                    zip(
                        image_of_box,
                        category_of_box,
                        self.boxes_xywh.tolist(),
                        self.areas.tolist(),
                        self.iscrowd.astype(int).tolist(),
                        strict=True,
                    ),
                    start=1,
                )
            ],
        }
        with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints
            coco.createIndex()
        return coco

    def check_files(self) -> None:
        """Raise InputError where an image is not on disk: the first 10 and how many."""
        missing = [name for name in self.file_names if not os.path.isfile(os.path.join(self.images_dir, name))]
        if missing:
            raise InputError(
                f"{self.annotations_file}: {len(missing)} of {len(self)} images are not in {self.images_dir}: "
                f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}; file names are taken relative to "
                "the split's 'images' folder"
            )

    def check_image(self, i: int) -> None:
        """Raise InputError where the file of image i is no readable image or has not the size that the JSON says."""
        width, height = self.sizes_wh[i].tolist()
        check_image_file(self.image_file(i), json_wh=(width, height), annotations_file=self.annotations_file)

    def check_images(self) -> None:
        """`check_files`, then `check_image` for all: reads every file's header, about 1 ms each."""
        self.check_files()
        for i in range(len(self)):
            self.check_image(i)


def check_same_categories(a: CocoIndex, b: CocoIndex) -> None:
    """Raise InputError where two splits do not declare the same category ids and names."""
    in_a = dict(zip(a.category_ids, a.names, strict=True))
    in_b = dict(zip(b.category_ids, b.names, strict=True))
    if in_a == in_b:
        return
    only_a = {k: v for k, v in in_a.items() if in_b.get(k) != v}
    only_b = {k: v for k, v in in_b.items() if in_a.get(k) != v}
    raise InputError(
        f"{b.annotations_file}: 'categories' must be those of {a.annotations_file}, "
        f"got {only_b or 'none'} where that file has {only_a or 'none'} (category id: name)"
    )


def _warn(file: Path, boxes: BoxArrays) -> None:
    said = []
    if boxes.dropped:
        said.append(f"{boxes.dropped} boxes without a positive size inside the image dropped")
    if boxes.clipped:
        said.append(f"{boxes.clipped} boxes that reach out of the image clipped for training")
    if boxes.without_area:
        said.append(f"{boxes.without_area} annotations without 'area' given width times height")
    if said:
        LOGGER.warning(f"{file}: {'; '.join(said)}")
