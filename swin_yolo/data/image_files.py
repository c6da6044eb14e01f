"""Image files on disk held against what the JSON says of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError
from ultralytics.data.utils import exif_size
from ultralytics.utils import patches
from ultralytics.utils.patches import imread

from swin_yolo.errors import InputError

# ultralytics puts a function in the place of PIL's that, for a file of no known format, installs a package by pip.
_open_image = getattr(patches, "_image_open", Image.open)


def check_image_file(image_file: Path, *, json_wh: tuple[int, int], annotations_file: Path) -> None:
    """Read the header (and of a JPEG the end) of an image file and hold its size against the JSON's.

    Args:
        image_file: the file.
        json_wh: width and height in pixels that the JSON gives.
        annotations_file: the JSON, for the message.

    Raises:
        InputError: the file cannot be decoded, is cut off, or has another size.
    """
    try:
        with _no_limits(), _open_image(image_file) as image:
            # The JSON must count as the decoder does, which turns photographs by their EXIF orientation.
            stored_wh, file_wh = image.size, exif_size(image)
            if image.format == "JPEG" and not _ends_as_jpeg(image_file):
                image.load()  # fails where pixels are missing; bytes behind the end do no harm
    except UnidentifiedImageError as error:
        pixels = imread(image_file)  # OpenCV reads some formats that PIL does not
        if pixels is None:
            why = "of no known format"
            raise undecodable(image_file, annotations_file=annotations_file, why=why) from error
        stored_wh = file_wh = (pixels.shape[1], pixels.shape[0])
    except (OSError, SyntaxError, ValueError) as error:
        raise undecodable(image_file, annotations_file=annotations_file, why=str(error)) from error
    check_size(file_wh, image_file=image_file, json_wh=json_wh, annotations_file=annotations_file, stored_wh=stored_wh)


def check_size(
    file_wh: tuple[int, int],
    *,
    image_file: Path,
    json_wh: tuple[int, int],
    annotations_file: Path,
    stored_wh: tuple[int, int] | None = None,
) -> None:
    """Hold the size of a decoded image (width, height) against the JSON's.

    Raises:
        InputError: they differ; says so where it is the EXIF rotation (`stored_wh` is the size before it).
    """
    if tuple(file_wh) == tuple(json_wh):
        return
    turned = stored_wh is not None and tuple(stored_wh) == tuple(json_wh)
    fix = (
        "the file carries an EXIF rotation that the JSON's boxes do not know: store it turned, without the EXIF tag"
        if turned
        else "boxes would be in the wrong place: put the annotated image there or correct the JSON"
    )
    raise InputError(
        f"{image_file}: is {file_wh[0]} x {file_wh[1]} pixels (width x height), "
        f"but {annotations_file} says {json_wh[0]} x {json_wh[1]}; {fix}"
    )


def undecodable(image_file: Path, *, annotations_file: Path, why: str) -> InputError:
    """The error for a file that is there but is no readable image."""
    return InputError(
        f"{image_file}: cannot be decoded as an image ({why}); replace the file or take it out of {annotations_file}"
    )


def _ends_as_jpeg(image_file: Path) -> bool:
    with image_file.open("rb") as stream:
        stream.seek(-2, 2)
        return stream.read() == b"\xff\xd9"


@contextlib.contextmanager
def _no_limits() -> Iterator[None]:
    """PIL without its limit on the number of pixels (a header is read, not the pixels), and strict about the end."""
    keep = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = keep
