"""Ground truth and detections as the pycocotools objects that COCOeval compares."""

import contextlib
import io
from collections.abc import Iterable, Iterator
from typing import Any

from pycocotools.coco import COCO

from swin_yolo.errors import InputError

Detection = dict[str, Any]  # image_id, category_id, bbox (left, top, width, height in pixels), score


def truth_annotations(ground_truth: COCO) -> list[dict[str, Any]]:
    """Copies of the annotations with what scoring reads, numbered from 1.

    COCOeval takes a match with an annotation of id 0 for no match, and such files are common (Roboflow's exports count
    from 0). A missing `iscrowd` is 0, a missing `area` is width x height.
    """
    annotations = []
    for number, annotation in enumerate(ground_truth.dataset.get("annotations", []), start=1):
        _, _, width, height = annotation["bbox"]
        copy = {key: annotation[key] for key in ("image_id", "category_id", "bbox")}
        area, iscrowd = annotation.get("area", width * height), annotation.get("iscrowd", 0)
        annotations.append({**copy, "id": number, "area": area, "iscrowd": iscrowd})
    return annotations


def result_annotations(detections: Iterable[Detection]) -> list[dict[str, Any]]:
    """What `COCO.loadRes` makes of detections, without its polygon for each box and its crash on an empty list."""
    results = []
    for number, detection in enumerate(detections, start=1):
        width, height = detection["bbox"][2:]
        results.append({**detection, "id": number, "area": width * height, "iscrowd": 0})
    return results


def of_known_images(ground_truth: COCO, detections: Iterable[Detection]) -> Iterator[Detection]:
    """The detections as they are, each of an image that `ground_truth` has.

    Raises:
        InputError: at the first detection of another image; they are counted from 0.
    """
    for index, detection in enumerate(detections):
        if detection["image_id"] not in ground_truth.imgs:
            raise InputError(
                f"detection {index} has image_id {detection['image_id']}, which the annotations do not have"
            )
        yield detection


def coco_object(ground_truth: COCO, annotations: list[dict[str, Any]]) -> COCO:
    """Images and categories of `ground_truth` with other annotations."""
    coco = COCO()
    kept = {key: ground_truth.dataset.get(key, []) for key in ("images", "categories")}
    coco.dataset = {**kept, "annotations": annotations}
    coco.createIndex()
    return coco


def class_names(ground_truth: COCO) -> dict[int, str]:
    """Names by ascending category_id; of two categories of one name the second carries its number."""
    names: dict[int, str] = {}
    for category_id in sorted(ground_truth.cats):
        name = str(ground_truth.cats[category_id].get("name", category_id))
        names[category_id] = f"{name} ({category_id})" if name in names.values() else name
    return names


def quiet() -> contextlib.AbstractContextManager[Any]:
    """While it lasts nothing is printed: pycocotools prints at every step and has no switch for it."""
    return contextlib.redirect_stdout(io.StringIO())
