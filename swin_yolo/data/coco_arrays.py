"""From the rows of a COCO file to checked arrays; every check names the file and the id.

n images, m boxes.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_yolo.data.coco_json import read_coco_json
from swin_yolo.data.coco_rows import AnnotationTable, CategoryRow, ImageRow
from swin_yolo.data.file_names import FileNames
from swin_yolo.errors import InputError

_ROUNDING = 0.01  # pixels; coordinates are often written with two decimals
_LOOKED_UP = 8  # ids in a range of at most that many times their number, as those of COCO, get a table of the range


@dataclass(frozen=True, eq=False)
class BoxArrays:
    """The boxes of a file, ordered by image, and in the file's order within one; see `CocoIndex` for the fields."""

    offsets: NDArray[np.int64]
    xywh: NDArray[np.float64]
    class_indices: NDArray[np.int32]
    iscrowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    annotation_ids: NDArray[np.int64]
    dropped: int
    clipped: int
    without_area: int


@dataclass(frozen=True, eq=False)
class SplitArrays:
    """All that an annotations file says that is read; see `CocoIndex` for the fields."""

    image_ids: NDArray[np.int64]
    file_names: FileNames
    sizes_wh: NDArray[np.int32]
    category_ids: tuple[int, ...]
    names: tuple[str, ...]
    boxes: BoxArrays


def split_arrays(file: Path) -> SplitArrays:
    """A COCO detection file, read and checked.

    Raises:
        InputError: anything in the file that training or scoring could only guess about.
    """
    content = read_coco_json(file)
    category_ids, names = category_table(file, content.categories)
    image_ids, file_names, sizes_wh = image_table(file, content.images)
    annotations = content.annotations
    del content  # the images, as objects, take much room
    boxes = box_arrays(file, annotations, image_ids=image_ids, sizes_wh=sizes_wh, category_ids=category_ids)
    return SplitArrays(image_ids, file_names, sizes_wh, category_ids, names, boxes)


def category_table(file: Path, rows: Sequence[CategoryRow]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Category ids, ascending, and their names.

    Roboflow puts the project's name first as a category of supercategory "none"; where a class has the same name, that
    row is called "NAME (supercategory)".

    Raises:
        InputError: no categories, or an id or a name twice.
    """
    if not rows:
        raise InputError(f"{file}: 'categories' is empty; every class needs an id and a name there")
    names: dict[int, str] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.id in names:
            raise InputError(f"{file}: category id {row.id} is declared twice, as {names[row.id]!r} and {row.name!r}")
        names[row.id] = _class_name(row, rows)
    first: dict[str, int] = {}
    for category_id, name in names.items():
        if name in first:
            raise InputError(
                f"{file}: categories {first[name]} and {category_id} have the same name, {name!r}; rename one"
            )
        first[name] = category_id
    return tuple(names), tuple(names.values())


def image_table(file: Path, rows: Sequence[ImageRow]) -> tuple[NDArray[np.int64], FileNames, NDArray[np.int32]]:
    """(n,) image ids, file names and (n, 2) width and height, in the file's order.

    Raises:
        InputError: no images, or an id or a file twice.
    """
    if not rows:
        raise InputError(f"{file}: 'images' is empty; there is nothing to train on or to score")
    image_ids = np.array([row.id for row in rows], dtype=np.int64)
    repeated = _first_repeated(image_ids)
    if repeated is not None:
        raise InputError(f"{file}: image id {repeated} is used by more than one image; ids must be unique")
    first: dict[str, int] = {}
    for row in rows:
        name = posixpath.normpath(row.file_name)
        if name in first:
            raise InputError(f"{file}: images {first[name]} and {row.id} have the same file_name, {row.file_name!r}")
        first[name] = row.id
    sizes_wh = np.array([(row.width, row.height) for row in rows], dtype=np.int32)
    return image_ids, FileNames.of(row.file_name for row in rows), sizes_wh


def box_arrays(
    file: Path,
    rows: AnnotationTable,
    *,
    image_ids: NDArray[np.int64],
    sizes_wh: NDArray[np.int32],
    category_ids: tuple[int, ...],
) -> BoxArrays:
    """The boxes that have a positive size inside their image, as arrays; `rows` are used up for the sake of memory.

    Raises:
        InputError: an id twice, an unknown image or category id, NaN or infinity, or no box to train on at all.
    """
    repeated = _first_repeated(rows["id"])
    if repeated is not None:
        raise InputError(f"{file}: annotation id {repeated} is used by more than one annotation; ids must be unique")
    images = _places(rows["image_id"], image_ids)
    classes = _places(rows["category_id"], np.array(category_ids))
    _check_rows(file, rows, images, classes, category_ids)

    inside, reaches_out = _inside(rows["bbox"], sizes_wh, images)
    iscrowd = rows.take("iscrowd")
    if not (inside & ~iscrowd).any():
        raise InputError(
            f"{file}: has no box to train on or to score: {len(rows)} annotations, {int((~inside).sum())} of them "
            f"without a positive size inside the image, {int(iscrowd.sum())} crowds"
        )
    order = np.argsort(images, kind="stable")
    order = order[inside[order]]
    per_image = np.bincount(images[order], minlength=len(image_ids))
    del images
    xywh, without_area = rows.take("bbox")[order], rows.take("without_area")[order]
    return BoxArrays(
        offsets=np.concatenate(([0], np.cumsum(per_image))).astype(np.int64),
        xywh=xywh,
        class_indices=classes[order].astype(np.int32),
        iscrowd=iscrowd[order],
        areas=np.where(without_area, xywh[:, 2] * xywh[:, 3], rows.take("area")[order]),
        annotation_ids=rows.take("id")[order],
        dropped=int((~inside).sum()),
        clipped=int((inside & reaches_out).sum()),
        without_area=int(without_area.sum()),
    )


def _class_name(row: CategoryRow, rows: Sequence[CategoryRow]) -> str:
    is_parent = row.supercategory == "none" and any(other.supercategory == row.name for other in rows)
    taken = any(other.name == row.name and other.id != row.id for other in rows)
    return f"{row.name} (supercategory)" if is_parent and taken else row.name


def _inside(
    xywh: NDArray[np.float64], sizes_wh: NDArray[np.int32], images: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(m,) whether a box has a positive size inside its image, and (m,) whether it reaches out of it."""
    inside, reaches_out = np.ones(len(xywh), np.bool_), np.zeros(len(xywh), np.bool_)
    for axis in (0, 1):  # one at a time, which takes half the room
        low, wh = xywh[:, axis], sizes_wh[images, axis]
        high = low + xywh[:, 2 + axis]
        reaches_out |= (low < -_ROUNDING) | (high > wh + _ROUNDING)
        inside &= np.minimum(high, wh) > np.maximum(low, 0)
    return inside, reaches_out


def _check_rows(
    file: Path,
    rows: AnnotationTable,
    images: NDArray[np.int64],
    classes: NDArray[np.int64],
    category_ids: tuple[int, ...],
) -> None:
    """Raise InputError for the first annotation that points to nothing or holds no numbers."""
    for i in _first(images < 0):
        what = f"image_id {rows['image_id'][i]}, which no entry of 'images' has"
        raise InputError(f"{file}: annotation {rows['id'][i]} has {what}")
    for i in _first(classes < 0):
        what = f"category_id {rows['category_id'][i]}; 'categories' declares {list(category_ids)}"
        raise InputError(f"{file}: annotation {rows['id'][i]} has {what}")
    for i in _first(~np.isfinite(rows["bbox"]).all(axis=1)):
        what = f"bbox {rows['bbox'][i].tolist()}; expected four finite numbers"
        raise InputError(f"{file}: annotation {rows['id'][i]} has {what}")
    for i in _first(~np.isfinite(rows["area"])):
        what = f"area {rows['area'][i]}; expected a finite number"
        raise InputError(f"{file}: annotation {rows['id'][i]} has {what}")


def _first(wrong: NDArray[np.bool_]) -> list[int]:
    """The first place that is wrong, if any."""
    return np.flatnonzero(wrong)[:1].tolist()


def _first_repeated(ids: NDArray[np.int64]) -> int | None:
    if (ids[1:] > ids[:-1]).all():
        return None  # as most files have them, and quicker than sorting
    ids = np.sort(ids)
    repeated = ids[1:][ids[1:] == ids[:-1]]
    return int(repeated[0]) if len(repeated) else None


def _places(wanted: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted id is in `ids` (at least one, all different); -1 where it is not."""
    low, high = int(ids.min()), int(ids.max())
    if high - low < _LOOKED_UP * len(ids):
        # One look for each, where a search among millions takes twenty that the cache does not hold.
        places = np.full(high - low + 2, -1)  # the last is that of all ids beyond
        places[ids - low] = np.arange(len(ids))
        return places[np.where((low <= wanted) & (wanted <= high), wanted - low, -1)]
    order = np.argsort(ids)
    rising = ids[order]
    found = np.searchsorted(rising, wanted).clip(max=len(ids) - 1)
    return np.where(rising[found] == wanted, order[found], -1)
