"""The rows of a COCO detection file: images and categories one by one, annotations as columns."""

from collections.abc import Iterable
from itertools import chain
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class ImageRow(msgspec.Struct, gc=False):
    """One entry of `images`; sizes in pixels."""

    id: _Int64
    file_name: str
    width: _Pixels
    height: _Pixels


class AnnotationRow(msgspec.Struct, gc=False):
    """One entry of `annotations`; bbox is left, top, width, height and area is in square pixels."""

    id: _Int64
    image_id: _Int64
    category_id: _Int64
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: bool | int = 0


class CategoryRow(msgspec.Struct, gc=False):
    """One entry of `categories`."""

    id: _Int64
    name: str
    supercategory: str | None = None


class AnnotationTable:
    """Annotations as columns in the file's order: a row takes 66 bytes here and several hundred as an object."""

    def __init__(self) -> None:
        self._length = 0
        self._columns: dict[str, NDArray] = {
            "id": np.empty(0, np.int64),
            "image_id": np.empty(0, np.int64),
            "category_id": np.empty(0, np.int64),
            "bbox": np.empty((0, 4), np.float64),
            "area": np.empty(0, np.float64),
            "without_area": np.empty(0, np.bool_),
            "iscrowd": np.empty(0, np.bool_),
        }

    def __len__(self) -> int:
        """Number of annotations."""
        return self._length

    def __getitem__(self, column: str) -> NDArray:
        """Values of all annotations; `area` is -1 where there is none."""
        return self._columns[column][: self._length]

    def take(self, column: str) -> NDArray:
        """Values of all annotations, which the table then no longer has."""
        return self._columns.pop(column)[: self._length]

    def extend(self, rows: list[AnnotationRow]) -> None:
        """Add annotations."""
        start, self._length = self._length, self._length + len(rows)
        self._reserve(self._length)
        self._set("id", start, [row.id for row in rows])
        self._set("image_id", start, [row.image_id for row in rows])
        self._set("category_id", start, [row.category_id for row in rows])
        self._set("bbox", start, chain.from_iterable([row.bbox for row in rows]))
        self._set("area", start, [-1.0 if row.area is None else row.area for row in rows])
        self._set("without_area", start, [row.area is None for row in rows])
        self._set("iscrowd", start, [bool(row.iscrowd) for row in rows])

    def _set(self, column: str, start: int, values: Iterable) -> None:
        room = self._columns[column][start : self._length]
        room[:] = np.fromiter(values, room.dtype, room.size).reshape(room.shape)

    def _reserve(self, length: int) -> None:
        if length > len(self._columns["id"]):
            for column in self._columns.values():
                # In place: the system moves pages, where a copy would need room for both.
                column.resize((length + length // 8, *column.shape[1:]), refcheck=False)
