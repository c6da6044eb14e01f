"""COCO detection JSON, decoded into typed rows; everything else that the file holds is skipped unread."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from swin_yolo.errors import InputError

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}


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


class CocoJson(msgspec.Struct):
    """The three lists of a COCO detection file."""

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
        raw = annotations_file.read_bytes().removeprefix(b"\xef\xbb\xbf")  # a byte order mark is not JSON
    except OSError as error:
        raise InputError(f"{annotations_file}: cannot be read as a COCO JSON file: {error.strerror}") from error
    try:
        return msgspec.json.decode(raw, type=CocoJson)
    except msgspec.MsgspecError:
        return _read_again(annotations_file, raw)


def _read_again(annotations_file: Path, raw: bytes) -> CocoJson:
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
        return msgspec.convert(content, type=CocoJson)
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
