"""Which class is taken for which: the detector's confusion matrix, counted as YOLOv5's val.py counts it.

`K` categories in ascending order of category_id; index K is the background.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO


def confusion_matrix(
    ground_truth: COCO,
    detections: Iterable[dict[str, Any]],
    *,
    image_ids: Sequence[int] | None = None,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
) -> np.ndarray:
    """Counts of detections by predicted and true class.

    Boxes are matched one to one by IoU whatever their classes. A crowd region is no object, so it cannot be missed,
    and an unmatched detection of its class that lies in it by more than `iou_thres` of its own area is not counted.

    Args:
        ground_truth: as pycocotools loads it.
        detections: COCO results entries, of categories that `ground_truth` has.
        image_ids: the images to count; None counts all.
        conf_thres: detections that score this or less are left out.
        iou_thres: two boxes match above this IoU.

    Returns:
        (K + 1, K + 1) int64, [predicted, true]: column K are false detections, row K are missed objects.
    """
    class_index = {category_id: index for index, category_id in enumerate([*sorted(ground_truth.cats), None])}
    by_image = defaultdict(list)
    for detection in detections:
        if detection["score"] > conf_thres:
            by_image[detection["image_id"]].append(detection)
    matrix = np.zeros((len(class_index), len(class_index)), np.int64)
    for image_id in ground_truth.imgs if image_ids is None else image_ids:
        truth = ground_truth.imgToAnns.get(image_id, [])
        for predicted, true in _pairs(truth, by_image[image_id], iou_thres):
            matrix[class_index[predicted], class_index[true]] += 1
    return matrix


def _pairs(
    truth: list[dict[str, Any]], detections: list[dict[str, Any]], iou_thres: float
) -> Iterable[tuple[int | None, int | None]]:
    """(predicted, true) category_id of every outcome in one image; None is the background."""
    objects = [annotation for annotation in truth if not annotation.get("iscrowd", 0)]
    crowds = [annotation for annotation in truth if annotation.get("iscrowd", 0)]
    matches = _match(_overlap(detections, objects, iscrowd=False), iou_thres)
    inside = _overlap(detections, crowds, iscrowd=True) > iou_thres
    for d, detection in enumerate(detections):
        category_id = detection["category_id"]
        if d in matches:
            yield category_id, objects[matches[d]]["category_id"]
        elif not any(inside[d, c] and crowd["category_id"] == category_id for c, crowd in enumerate(crowds)):
            yield category_id, None
    for missed in set(range(len(objects))) - set(matches.values()):
        yield None, objects[missed]["category_id"]


def _match(iou: np.ndarray, iou_thres: float) -> dict[int, int]:
    """Object index by detection index: each detection claims its best object, and the best claim on an object wins."""
    if not iou.size:
        return {}
    best, claimed = iou.argmax(axis=1), iou.max(axis=1)
    winners: dict[int, int] = {}
    for d in np.argsort(-claimed, kind="stable"):
        if claimed[d] > iou_thres:
            winners.setdefault(int(best[d]), int(d))
    return {d: g for g, d in winners.items()}


def _overlap(detections: list[dict[str, Any]], truth: list[dict[str, Any]], *, iscrowd: bool) -> np.ndarray:
    """(detections, truth) IoU; with `iscrowd` the share of the detection's own area that lies in each region."""
    if not detections or not truth:
        return np.zeros((len(detections), len(truth)))
    boxes_xywh = [np.array([box["bbox"] for box in boxes], np.float64) for boxes in (detections, truth)]
    return np.asarray(mask.iou(*boxes_xywh, [int(iscrowd)] * len(truth)))
