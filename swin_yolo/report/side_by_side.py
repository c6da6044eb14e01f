"""Ground truth and predictions of the same images, beside each other in one picture.

Boxes come as COCO entries: `bbox` is left, top, width, height in pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ultralytics.utils.patches import imread

from swin_yolo.errors import InputError
from swin_yolo.report.drawing import draw_boxes, lettering, write_image
from swin_yolo.report.palette import class_colours
from swin_yolo.report.text import shortened

CELL_WIDTH = 490  # four cells, two pairs, to a row
GAP = 6
TEXT_HEIGHT = 12
TITLE_HEIGHT = 17


def side_by_side(
    image_files: Sequence[Path],
    ground_truth: Sequence[Sequence[Mapping[str, Any]]],
    detections: Sequence[Sequence[Mapping[str, Any]]],
    names: Mapping[int, str],
    file: Path,
    *,
    conf_thres: float = 0.25,
    max_images: int = 8,
) -> None:
    """Write a grid with a pair of cells for each image: its ground truth on the left, its predictions on the right.

    Two pairs to a row, at most 2000 pixels wide. Crowd regions are marked in their label.

    Args:
        image_files: the images; those after the first `max_images` are left out.
        ground_truth: for each image its COCO annotations.
        detections: for each image its COCO results entries.
        names: class name by category_id; the colours go by their ascending order, as class indices do.
        file: the picture to write, JPEG or PNG by its suffix.
        conf_thres: predictions that score less are left out.
        max_images: how many images to show.

    Raises:
        InputError: an image cannot be read.
        ValueError: there are no images, or the arguments differ in length.
    """
    rows = list(zip(image_files, ground_truth, detections, strict=True))[:max_images]
    if not rows:
        raise ValueError("side_by_side needs at least one image, got none")
    images = [_read(Path(image_file)) for image_file, _, _ in rows]
    height = _cell_height(images)
    pairs = []
    for image, (image_file, truth, found) in zip(images, rows, strict=True):
        found = sorted((d for d in found if d["score"] >= conf_thres), key=lambda d: -d["score"])
        left, right = _cell(image, truth, names, height), _cell(image, found, names, height)
        caption = _strip(Path(image_file).name, TEXT_HEIGHT, 2 * CELL_WIDTH + GAP)
        pairs.append(np.vstack((caption, np.hstack((left, _white(height, GAP), right)))))
    write_image(_grid(pairs, ("Ground truth", f"Predictions, score ≥ {conf_thres:g}")), file)


def _read(file: Path) -> np.ndarray:
    try:
        image = imread(str(file))  # as in training, of every format that it takes
    except (OSError, cv2.error) as error:
        raise InputError(f"{file}: cannot be read as an image: {error}") from error
    if image is None:
        raise InputError(f"{file}: cannot be read as an image")
    return image


def _cell_height(images: Sequence[np.ndarray]) -> int:
    """Height that suits the middle one of the images' shapes, within 1:2 and 3:2 of the width."""
    ratio = float(np.median([image.shape[0] / image.shape[1] for image in images]))
    return round(CELL_WIDTH * min(max(ratio, 0.5), 1.5))


def _cell(image: np.ndarray, entries: Sequence[Mapping[str, Any]], names: Mapping[int, str], height: int) -> np.ndarray:
    """(height, CELL_WIDTH, 3): the image scaled to fit, its boxes drawn at that scale so that labels stay legible."""
    scale = min(CELL_WIDTH / image.shape[1], height / image.shape[0])
    size_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes = np.array([entry["bbox"] for entry in entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    class_index = {category_id: index for index, category_id in enumerate(sorted(names))}
    palette = class_colours(len(names))
    colours = [palette[class_index[entry["category_id"]]] for entry in entries]
    drawn = draw_boxes(small, boxes * scale, [_label(e, names) for e in entries], colours, text_height=TEXT_HEIGHT)
    cell = np.full((height, CELL_WIDTH, 3), 235, np.uint8)
    top, left = (height - size_wh[1]) // 2, (CELL_WIDTH - size_wh[0]) // 2
    cell[top : top + size_wh[1], left : left + size_wh[0]] = drawn
    return cell


def _label(entry: Mapping[str, Any], names: Mapping[int, str]) -> str:
    name = shortened(names[entry["category_id"]], 24)
    if "score" in entry:
        return f"{name} {entry['score']:.2f}"
    return f"{name} (crowd)" if entry.get("iscrowd") else name


def _grid(pairs: Sequence[np.ndarray], titles: tuple[str, str]) -> np.ndarray:
    columns = min(2, len(pairs))
    head = np.hstack([_strip(text, TITLE_HEIGHT, CELL_WIDTH + GAP) for text in titles])[:, :-GAP]
    blank = np.full_like(pairs[0], 255)
    filled = [*pairs, *[blank] * (-len(pairs) % columns)]
    rows = [_joined([head] * columns)]
    rows += [_joined(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    return np.pad(np.vstack(rows), ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


def _joined(cells: Sequence[np.ndarray]) -> np.ndarray:
    """Cells beside each other, twice the gap between pairs as within one."""
    between = _white(cells[0].shape[0], 2 * GAP)
    return np.hstack([part for cell in cells for part in (between, cell)][1:])


def _strip(text: str, text_height: int, width: int) -> np.ndarray:
    """One line of dark text on white, `width` pixels wide, cut where it is longer."""
    letters = lettering(text, text_height)[:, :width]
    strip = _white(letters.shape[0] + 4, width)
    strip[2:-2, : letters.shape[1]] -= (letters[..., None] * 0.87).astype(np.uint8)
    return strip


def _white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)
