"""COCO detection JSON, decoded into typed rows; everything else that the file holds is skipped unread."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from swin_yolo.data.coco_rows import AnnotationRow, AnnotationTable, CategoryRow, ImageRow
from swin_yolo.data.coco_stream import BYTE_ORDER_MARK, NotStreamedError, stream_coco_json
from swin_yolo.errors import InputError

_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}


@dataclass(frozen=True, eq=False)
class CocoJson:
    """The three lists of a COCO detection file."""

    images: Sequence[ImageRow]
    annotations: AnnotationTable
    categories: Sequence[CategoryRow]


class _Whole(msgspec.Struct):
    images: list[ImageRow]
    annotations: list[AnnotationRow]
    categories: list[CategoryRow]


def read_coco_json(annotations_file: Path) -> CocoJson:
    """The rows of a COCO detection file, in the file's order.

    `NaN` and `Infinity`, which are not JSON but which Python's json module writes, come through as floats: whoever uses
    the numbers has to check them, and can then name the annotation.

    Raises:
        InputError: the file cannot be read, is not JSON, or lacks a field; names the place.
    """
    try:
        with annotations_file.open("rb") as stream:
            return _read_by_and_by(stream) or _read_whole(annotations_file)
    except OSError as error:
        raise InputError(f"{annotations_file}: cannot be read as a COCO JSON file: {error.strerror}") from error


def _read_by_and_by(stream: BinaryIO) -> CocoJson | None:
    """The rows, in little memory; None where that does not go."""
    annotations = AnnotationTable()
    try:
        images, categories = stream_coco_json(stream, annotations.extend)
    except NotStreamedError:
        return None
    return CocoJson(images, annotations, categories)


def _read_whole(annotations_file: Path) -> CocoJson:
    raw = annotations_file.read_bytes().removeprefix(BYTE_ORDER_MARK)
    try:
        rows = msgspec.json.decode(raw, type=_Whole)
    except msgspec.MsgspecError:
        rows = _read_again(annotations_file, raw)
    annotations = AnnotationTable()
    annotations.extend(rows.annotations)
    return CocoJson(rows.images, annotations, rows.categories)


def _read_again(annotations_file: Path, raw: bytes) -> _Whole:
    """The rows by Python's own parser, which is slower, takes NaN, and says where the text breaks off."""
    try:
        content = json.loads(raw)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{annotations_file}: is not JSON, or was cut off, at byte {error.pos} of {len(raw)} "
            f"(line {error.lineno}, column {error.colno}): {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{annotations_file}: is not JSON: byte {error.start} is not UTF-8 text") from error
    try:
        return msgspec.convert(content, type=_Whole)
    except msgspec.ValidationError as error:
        raise InputError(f"{annotations_file}: {_explain(content, str(error))}") from error


def _explain(content: Any, message: str) -> str:
    """The message of msgspec, with the id of the image or annotation for its position in the list."""
    message = message[0].lower() + message[1:]
    place = re.search(r" - at `\$\.(\w+)\[(\d+)\](?:\.(\w+))?", message)
    if place is None:
        return f"is not a COCO detection file (images, annotations, categories): {message}"
    section, position, field = place.groups()
    row = content[section][int(position)]
    name = f"{section}[{position}]"
    if isinstance(row, dict) and "id" in row:
        name = f"{_SINGULAR[section]} {row['id']} ({name})"
    return f"{name}: {f'{field}: ' if field else ''}{message[: place.start()]}"
