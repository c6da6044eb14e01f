"""Boxes with labels on an image."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swin_yolo.files import written_whole
from swin_yolo.report.fonts import font_file
from swin_yolo.report.palette import Colour, text_colour
from swin_yolo.report.text import printable

MIN_TEXT_HEIGHT = 12


def draw_boxes(
    image_bgr: np.ndarray,
    boxes_xyxy: np.ndarray,
    labels: Sequence[str],
    colours: Sequence[Colour],
    *,
    text_height: int | None = None,
    line_thickness: int | None = None,
) -> np.ndarray:
    """A copy of `image_bgr` with boxes and labels; where they overlap, the earlier one is on top.

    A label stands on its box, or inside where there is no room above; at another side of it where it would hide an
    earlier one; and always within the image. One that is too wide for the image is cut.

    Args:
        image_bgr: (H, W, 3) uint8.
        boxes_xyxy: (N, 4) left, top, right, bottom in pixels; N may be 0.
        labels: N; "" draws the box alone.
        colours: N, (R, G, B).
        text_height: pixels; None scales it to the image.
        line_thickness: of the boxes, pixels; None scales it to the image.
    """
    image = np.ascontiguousarray(image_bgr).copy()
    side = float(np.sqrt(image.shape[0] * image.shape[1]))
    line = line_thickness or max(2, round(side / 400))
    corners = np.asarray(boxes_xyxy, float).reshape(-1, 4).clip(-2 * line, max(image.shape) + 2 * line)
    boxes = [tuple(box) for box in corners.round().astype(int).tolist()]
    for box, colour in reversed(list(zip(boxes, colours, strict=True))):
        cv2.rectangle(image, box[:2], box[2:], _bgr(text_colour(colour)), line + 2)  # seen on any ground
        cv2.rectangle(image, box[:2], box[2:], _bgr(colour), line)
    height = text_height or max(MIN_TEXT_HEIGHT, round(side / 55))
    taken: list[tuple[int, ...]] = []
    placed = []
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        if label:
            letters = _fitting(label, height, image.shape[1])[: image.shape[0]]
            left, top = _place(letters, box, image, taken)
            taken.append((left, top, left + letters.shape[1], top + letters.shape[0]))
            placed.append((letters, left, top, colour))
    for letters, left, top, colour in reversed(placed):
        _blend(image, letters, left, top, colour)
    return image


def write_image(image_bgr: np.ndarray, file: Path) -> None:
    """Write an image whole or not at all, as JPEG or PNG by the suffix of `file`; any characters in the path."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if file.suffix.lower() in {".jpg", ".jpeg"} else []
    done, data = cv2.imencode(file.suffix, image_bgr, options)
    if not done:
        raise OSError(f"{file}: OpenCV cannot encode an image as {file.suffix}")
    with written_whole(file) as part:
        part.write_bytes(data.tobytes())


def _place(
    letters: np.ndarray, box: tuple[int, ...], image: np.ndarray, taken: Sequence[tuple[int, ...]]
) -> tuple[int, int]:
    """Left and top of a label: of the places at its box, the one that hides the least of the labels before it."""
    (rows, columns), (h, w) = image.shape[:2], letters.shape
    left = max(0, min(box[0], columns - w))
    inside = max(box[1], 0)
    tops = (box[1] - h if box[1] >= h else inside, inside, max(box[3], 0))
    places = [(left, min(top, rows - h)) for top in tops]

    def hidden(place: tuple[int, int]) -> int:
        left, top = place
        return sum(
            max(0, min(left + w, right) - max(left, x)) * max(0, min(top + h, bottom) - max(top, y))
            for x, y, right, bottom in taken
        )

    return min(places, key=hidden)


def _blend(image: np.ndarray, letters: np.ndarray, left: int, top: int, colour: Colour) -> None:
    """Blend a label into `image` in place."""
    h, w = letters.shape
    region = image[top : top + h, left : left + w]
    ground, ink = (np.array(_bgr(c), np.float32) for c in (colour, text_colour(colour)))
    opacity = letters[..., None].astype(np.float32) / 255  # h w 1
    region[:] = (ground + (ink - ground) * opacity).round().astype(np.uint8)


def _fitting(label: str, height: int, width: int) -> np.ndarray:
    """`lettering` of the label, its end cut off where it is wider than `width` pixels."""
    letters = lettering(label, height)
    cut = label
    while letters.shape[1] > width and len(cut) > 1:
        cut = cut[: max(1, min(len(cut) - 1, len(cut) * width // letters.shape[1]))]
        letters = lettering(cut + "...", height)
    return letters[:, :width]


@lru_cache(maxsize=2048)
def lettering(text: str, height: int) -> np.ndarray:
    """(h, w) uint8 opacity of one line of text in a font of `height` pixels, with a margin."""
    text = printable(text)
    font = ImageFont.truetype(font_file(text), height)
    ascent, descent = font.getmetrics()
    margin = max(2, height // 5)
    canvas = Image.new("L", (int(font.getlength(text) + 0.999) + 2 * margin, ascent + descent))
    ImageDraw.Draw(canvas).text((margin, 0), text, fill=255, font=font)
    opacity = np.asarray(canvas).copy()
    opacity.flags.writeable = False  # the cache hands out this one array
    return opacity


def _bgr(colour: Colour) -> Colour:
    return colour[2], colour[1], colour[0]
