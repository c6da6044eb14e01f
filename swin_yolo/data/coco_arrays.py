"""From the rows of a COCO file to checked arrays; every check names the file and the id.

n images, m boxes.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_yolo.data.coco_json import AnnotationRow, CategoryRow, ImageRow
from swin_yolo.errors import InputError

_ROUNDING = 0.01  # pixels; coordinates are often written with two decimals


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


def image_table(file: Path, rows: Sequence[ImageRow]) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.int32]]:
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
    return image_ids, tuple(row.file_name for row in rows), sizes_wh


def box_arrays(
    file: Path,
    rows: Sequence[AnnotationRow],
    *,
    image_ids: NDArray[np.int64],
    sizes_wh: NDArray[np.int32],
    category_ids: tuple[int, ...],
) -> BoxArrays:
    """The boxes that have a positive size inside their image, as arrays.

    Raises:
        InputError: an id twice, an unknown image or category id, NaN or infinity, or no box to train on at all.
    """
    annotation_ids = np.array([row.id for row in rows], dtype=np.int64)
    repeated = _first_repeated(annotation_ids)
    if repeated is not None:
        raise InputError(f"{file}: annotation id {repeated} is used by more than one annotation; ids must be unique")
    images = _places(np.array([row.image_id for row in rows], dtype=np.int64), image_ids)
    classes = _places(np.array([row.category_id for row in rows], dtype=np.int64), np.array(category_ids))
    xywh = np.array([row.bbox for row in rows], dtype=np.float64).reshape(-1, 4)
    given_areas = np.array([-1.0 if row.area is None else row.area for row in rows], dtype=np.float64)
    without_area = np.array([row.area is None for row in rows], dtype=bool)
    _check_rows(file, rows, images, classes, xywh, given_areas, category_ids)

    left_top, right_bottom, wh = xywh[:, :2], xywh[:, :2] + xywh[:, 2:], sizes_wh[images]  # m 2
    inside = np.all(np.minimum(right_bottom, wh) > np.maximum(left_top, 0), axis=1)
    reaches_out = np.any((left_top < -_ROUNDING) | (right_bottom > wh + _ROUNDING), axis=1)
    iscrowd = np.array([bool(row.iscrowd) for row in rows], dtype=bool)
    if not (inside & ~iscrowd).any():
        raise InputError(
            f"{file}: has no box to train on or to score: {len(rows)} annotations, {int((~inside).sum())} of them "
            f"without a positive size inside the image, {int(iscrowd.sum())} crowds"
        )
    order = np.argsort(images, kind="stable")
    order = order[inside[order]]
    per_image = np.bincount(images[order], minlength=len(image_ids))
    return BoxArrays(
        offsets=np.concatenate(([0], np.cumsum(per_image))).astype(np.int64),
        xywh=xywh[order],
        class_indices=classes[order].astype(np.int32),
        iscrowd=iscrowd[order],
        areas=np.where(without_area, xywh[:, 2] * xywh[:, 3], given_areas)[order],
        annotation_ids=annotation_ids[order],
        dropped=int((~inside).sum()),
        clipped=int((inside & reaches_out).sum()),
        without_area=int(without_area[order].sum()),
    )


def _class_name(row: CategoryRow, rows: Sequence[CategoryRow]) -> str:
    is_parent = row.supercategory == "none" and any(other.supercategory == row.name for other in rows)
    taken = any(other.name == row.name and other.id != row.id for other in rows)
    return f"{row.name} (supercategory)" if is_parent and taken else row.name


def _check_rows(
    file: Path,
    rows: Sequence[AnnotationRow],
    images: NDArray[np.int64],
    classes: NDArray[np.int64],
    xywh: NDArray[np.float64],
    areas: NDArray[np.float64],
    category_ids: tuple[int, ...],
) -> None:
    """Raise InputError for the first annotation that points to nothing or holds no numbers."""
    for row in _first(rows, images < 0):
        raise InputError(f"{file}: annotation {row.id} has image_id {row.image_id}, which no entry of 'images' has")
    for row in _first(rows, classes < 0):
        raise InputError(
            f"{file}: annotation {row.id} has category_id {row.category_id}; 'categories' declares {list(category_ids)}"
        )
    for row in _first(rows, ~np.all(np.isfinite(xywh), axis=1)):
        raise InputError(f"{file}: annotation {row.id} has bbox {list(row.bbox)}; expected four finite numbers")
    for row in _first(rows, ~np.isfinite(areas)):
        raise InputError(f"{file}: annotation {row.id} has area {row.area}; expected a finite number")


def _first(rows: Sequence[AnnotationRow], wrong: NDArray[np.bool_]) -> list[AnnotationRow]:
    """The first row that is wrong, if any."""
    return [rows[int(i)] for i in np.flatnonzero(wrong)[:1]]


def _first_repeated(ids: NDArray[np.int64]) -> int | None:
    unique, counts = np.unique(ids, return_counts=True)
    repeated = unique[counts > 1]
    return int(repeated[0]) if len(repeated) else None


def _places(wanted: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted id is in `ids` (at least one, all different); -1 where it is not."""
    order = np.argsort(ids)
    found = np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)
    places = order[found]
    return np.where(ids[places] == wanted, places, -1)
