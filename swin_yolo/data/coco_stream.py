"""The rows of a COCO file by and by, so that a file of many gigabytes takes no more memory than its columns do.

Only `annotations` is long. It is cut into pieces of whole annotations by looking for what may lie between two of them
and then decoding: text that is a JSON array once it is put into brackets ends where one of the array's items does,
since what a parser makes of a text does not depend on what follows. So no JSON has to be scanned here.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO

import msgspec

from swin_yolo.data.coco_rows import AnnotationRow, CategoryRow, ImageRow

PIECE = 2**18  # bytes; larger ones are slower, since their rows do not stay in the processor's cache
_KEY = re.compile(rb'"annotations"\s*:\s*\[')
_LONGEST_KEY = 64  # bytes, with white space
_LAST = re.compile(rb"\}(?=\s*\])")
_BETWEEN = re.compile(rb"\}\s*,(?=\s*\{)")
_GUESSES = 8  # places tried in a piece, of either kind
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # is not JSON
_MARK = b"[9094217365071892]"  # stands for the annotations in what is decoded last

_annotations = msgspec.json.Decoder(list[AnnotationRow])


class NotStreamedError(Exception):
    """The file holds an error, or what cannot be read by and by: it has to be read as a whole."""


class _Rest(msgspec.Struct):
    images: list[ImageRow]
    annotations: msgspec.Raw
    categories: list[CategoryRow]


def stream_coco_json(
    stream: BinaryIO, take: Callable[[list[AnnotationRow]], None]
) -> tuple[list[ImageRow], list[CategoryRow]]:
    """Hand the annotations of a COCO detection file to `take`, some at a time; gives images and categories.

    Raises:
        NotStreamedError: see there; `take` may have got annotations by then.
    """
    head, text = _up_to_annotations(stream)
    for rows, behind in _pieces(stream, text):
        take(rows)
        text = behind
    document = b"".join((head.removeprefix(BYTE_ORDER_MARK), _MARK, text, stream.read()))
    del head
    try:
        rest = msgspec.json.decode(document, type=_Rest)
    except msgspec.MsgspecError as error:
        raise NotStreamedError from error
    if bytes(rest.annotations) != _MARK:  # the key is there twice, or what was read is part of something else
        raise NotStreamedError
    return rest.images, rest.categories


def _up_to_annotations(stream: BinaryIO) -> tuple[bytes, bytes]:
    """What stands before the bracket that opens the annotations, and the start of what stands behind it."""
    pieces: list[bytes] = []
    tail = b""
    while piece := stream.read(PIECE):
        piece = tail + piece
        if found := _KEY.search(piece):
            return b"".join((*pieces, piece[: found.end() - 1])), piece[found.end() :]
        pieces.append(piece[:-_LONGEST_KEY])
        tail = piece[-_LONGEST_KEY:]  # the key may begin here
    raise NotStreamedError


def _pieces(stream: BinaryIO, text: bytes) -> Iterator[tuple[list[AnnotationRow], bytes]]:
    """Annotations, some at a time, and what was read behind them; at the end, what is behind the whole array."""
    size = PIECE
    while True:
        more = stream.read(size)
        text += more
        if found := _whole_annotations(text):
            rows, end, is_last = found
            text, size = text[end:], PIECE
            yield rows, text
            if is_last:
                return
        elif more:
            size *= 2  # an annotation may be longer than a piece
        else:
            raise NotStreamedError


def _whole_annotations(text: bytes) -> tuple[list[AnnotationRow], int, bool] | None:
    """The annotations that `text` begins with, where it goes on behind them, and whether they are the last ones."""
    for found in islice(_LAST.finditer(text), _GUESSES):
        if rows := _decoded(text[: found.end()]):
            return rows, text.index(b"]", found.end()) + 1, True
    for found in islice(_from_the_end(text), _GUESSES):
        if rows := _decoded(text[: found.start() + 1]):
            return rows, found.end(), False
    return None


def _from_the_end(text: bytes) -> Iterator[re.Match[bytes]]:
    """Places that may lie between two annotations."""
    place = len(text)
    while (place := text.rfind(b"}", 0, place)) >= 0:
        if found := _BETWEEN.match(text, place):
            yield found


def _decoded(items: bytes) -> list[AnnotationRow] | None:
    try:
        return _annotations.decode(b"[%b]" % items)
    except msgspec.ValidationError as error:
        raise NotStreamedError from error
    except msgspec.DecodeError:
        return None
