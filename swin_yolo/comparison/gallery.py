"""The images on which models differ most, with what each found there."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask
from ultralytics.utils import LOGGER
from ultralytics.utils.patches import imread

from swin_yolo.data.coco import CocoIndex
from swin_yolo.scoring.coco_objects import Detection

MOST = 40
LONGEST_SIDE = 640

CONFIDENT, OVERLAP = 0.25, 0.5  # a detection that counts, and the IoU from which it is of an object
SHOWN, MOST_SHOWN = 0.05, 100  # least score of a detection that the page has, and how many of an image: COCO counts 100


def gallery(
    index: CocoIndex, detections: Mapping[str, Sequence[Detection]], baseline: str, *, most: int = MOST
) -> list[dict[str, Any]]:
    """Images for the page, the one first on which a model differs most from the baseline.

    Args:
        index: the split; its image files are read.
        detections: what `shown` leaves of COCO results entries, by the model's name.
        baseline: name of the model that others are compared with.
        most: images at most.

    Returns:
        What `write_comparison_page` takes. An image on which no model differs, or that cannot be read any more, is
        left out.
    """
    by_image = {name: _by_image(entries) for name, entries in detections.items()}
    truth = [_truth(index, i) for i in range(len(index))]
    found = {name: _of_index(index, of_image) for name, of_image in by_image.items()}
    quality = {name: [image_quality(t, d) for t, d in zip(truth, of, strict=True)] for name, of in found.items()}
    gains = [
        {name: of[i] - quality[baseline][i] for name, of in quality.items() if name != baseline}
        for i in range(len(index))
    ]
    size = [max(map(abs, gain.values()), default=0.0) for gain in gains]
    chosen = [i for i in sorted(range(len(index)), key=lambda i: -size[i]) if size[i] > 0][:most]
    return [
        {
            "file_name": index.file_names[i],
            "width": int(index.sizes_wh[i][0]),
            "height": int(index.sizes_wh[i][1]),
            "picture": picture,
            "gain": gains[i],
            "truth": truth[i],
            "detections": {name: [_brief(d) for d in of[i]] for name, of in found.items()},
        }
        for i in chosen
        if (picture := read_scaled(index, i)) is not None
    ]


def shown(entries: Iterable[Detection]) -> list[Detection]:
    """The detections that the page can show: a run has many more, of low scores."""
    best_first = sorted((entry for entry in entries if entry["score"] >= SHOWN), key=lambda entry: -entry["score"])
    counted: Counter[int] = Counter()
    kept = []
    for entry in best_first:
        counted[entry["image_id"]] += 1
        if counted[entry["image_id"]] <= MOST_SHOWN:
            kept.append(entry)
    return kept


def _brief(detection: Mapping[str, Any]) -> dict[str, Any]:
    """A detection to a tenth of a pixel and a thousandth of score: what can be seen of it."""
    box = [round(value, 1) for value in detection["box"]]
    return {**detection, "box": box, "score": round(detection["score"], 3)}


def image_quality(truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> float:
    """How well one image was seen, 0..1: twice the IoU of all matches over the number of objects and detections.

    It is F1 with each match counted by its IoU, so that boxes that fit better count as well. By falling score,
    detections of at least 0.25 take the free object of their class with the largest IoU of at least 0.5. Without
    objects and detections it is 1. A detection that matches nothing and lies in a crowd region of its class is left
    out.

    Args:
        truth: `box` (left, top, width, height), `class` and `crowd` of each.
        detections: `box`, `class` and `score` of each.
    """
    objects = [t for t in truth if not t["crowd"]]
    crowds = [t for t in truth if t["crowd"]]
    confident = sorted((d for d in detections if d["score"] >= CONFIDENT), key=lambda d: -d["score"])
    iou, inside = _overlaps(confident, objects, crowd=False), _overlaps(confident, crowds, crowd=True)
    free, overlap, counted = set(range(len(objects))), 0.0, len(objects)
    for d, detection in enumerate(confident):
        fitting = [g for g in free if objects[g]["class"] == detection["class"] and iou[d, g] >= OVERLAP]
        if fitting:
            best = max(fitting, key=lambda g: iou[d, g])
            free.remove(best)
            overlap += float(iou[d, best])
        elif any(inside[d, c] >= OVERLAP and crowd["class"] == detection["class"] for c, crowd in enumerate(crowds)):
            continue
        counted += 1
    return 2 * overlap / counted if counted else 1.0


def _overlaps(detections: Sequence[Mapping], truth: Sequence[Mapping], *, crowd: bool) -> np.ndarray:
    """(detections, truth) IoU; of a crowd the share of the detection's own area that lies in it."""
    if not detections or not truth:
        return np.zeros((len(detections), len(truth)))
    boxes_xywh = [np.array([item["box"] for item in items], np.float64) for items in (detections, truth)]
    return np.asarray(mask.iou(*boxes_xywh, [int(crowd)] * len(truth)))


def _by_image(entries: Sequence[Detection]) -> dict[int, list[Detection]]:
    found = defaultdict(list)
    for entry in entries:
        found[entry["image_id"]].append(entry)
    return found


def _truth(index: CocoIndex, i: int) -> list[dict[str, Any]]:
    rows = index.rows(i)
    columns = index.boxes_xywh[rows].tolist(), index.class_indices[rows].tolist(), index.iscrowd[rows].tolist()
    return [{"box": box, "class": number, "crowd": crowd} for box, number, crowd in zip(*columns, strict=True)]


def _of_index(index: CocoIndex, of_image: Mapping[int, Sequence[Detection]]) -> list[list[dict[str, Any]]]:
    """Detections of each image of the index."""
    class_of = {category_id: number for number, category_id in enumerate(index.category_ids)}
    return [
        [
            {"box": d["bbox"], "class": class_of[d["category_id"]], "score": d["score"]}
            for d in of_image.get(int(image_id), [])
        ]
        for image_id in index.image_ids
    ]


def read_scaled(index: CocoIndex, i: int) -> np.ndarray | None:
    """An image with its longer side at most `LONGEST_SIDE`; BGR. None, and a warning, where it cannot be read."""
    file = index.image_file(i)
    try:
        image = imread(str(file))  # as in training, of every format that it takes
    except (OSError, cv2.error):
        image = None
    if image is None:
        LOGGER.warning(f"{file}: cannot be read any more, so the page does not show it")
        return None
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = image.shape[:2]
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
