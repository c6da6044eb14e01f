"""COCO average precision of box detections, by pycocotools.

`K` categories in ascending order of category_id, which is the order of every per-class array here.
"""

import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swin_yolo.errors import InputError

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
DETECTION_KEYS = ("image_id", "category_id", "bbox", "score")

Detection = dict[str, Any]  # image_id, category_id, bbox (left, top, width, height in pixels), score


@dataclass(frozen=True, eq=False)
class CocoScore:
    """What COCOeval says of a set of detections; every number is 0..1, or -1 where there is no ground truth.

    Attributes:
        metrics: the twelve COCO numbers, in the order of `METRIC_NAMES`.
        per_class: for each class name AP, AP50, APs, APm, APl, AR100, and `boxes`: its ground truth without crowds.
        category_ids: of the K classes of `per_class`, ascending.
        precision: (K, 101) precision at IoU 0.50 at recalls 0, 0.01 .. 1; all areas, 100 detections an image.
        scores: (K, 101) score of the detection at which each of those recalls is reached; 0 where it never is.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    category_ids: tuple[int, ...]
    precision: np.ndarray
    scores: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of the rows of `precision`."""
        return tuple(self.per_class)


def score_detections(
    ground_truth: COCO, detections: Iterable[Detection], *, image_ids: Sequence[int] | None = None
) -> CocoScore:
    """COCOeval's bbox numbers of `detections`.

    Neither argument is changed. Annotations are renumbered from 1 in a copy, since COCOeval takes a match with an
    annotation of id 0 for no match, and such files are common (Roboflow's exports count from 0).

    Args:
        ground_truth: as pycocotools loads it. A missing `iscrowd` is 0, a missing `area` is width x height.
        detections: COCO results entries; may be empty.
        image_ids: the images to score; None scores all.

    Raises:
        InputError: a detection is of an image that `ground_truth` does not have.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints at every step and has no switch for it
        evaluation = COCOeval(_numbered_truth(ground_truth), _as_coco_results(ground_truth, detections), "bbox")
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]  # T R K A M: IoU, recall, category, area, detections per image
    scores = evaluation.eval["scores"]
    return CocoScore(
        metrics={name: float(value) for name, value in zip(METRIC_NAMES, evaluation.stats, strict=True)},
        per_class=_per_class(evaluation),
        category_ids=tuple(int(category_id) for category_id in evaluation.params.catIds),
        precision=precision[0, :, :, 0, -1].T.copy(),  # K 101
        scores=scores[0, :, :, 0, -1].T.copy(),
    )


def load_predictions(path: Path, ground_truth: COCO) -> list[Detection]:
    """Entries of the COCO results file `path`, each checked against `ground_truth`.

    Raises:
        InputError: the file cannot be read, is no list, or an entry of it is not a detection in `ground_truth`'s images
            and categories; entries are counted from 0.
    """
    try:
        entries = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a COCO results file: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if not isinstance(entries, list):
        found = f"an object with the keys {sorted(entries)[:8]}" if isinstance(entries, dict) else repr(entries)[:80]
        raise InputError(f"{path}: expected a list of detections with {', '.join(DETECTION_KEYS)}, got {found}")
    for index, entry in enumerate(entries):
        if fault := _fault(entry, ground_truth):
            raise InputError(f"{path}: entry {index} {fault}")
    return entries


def _fault(entry: Any, ground_truth: COCO) -> str | None:
    """What is wrong with one entry of a results file, to follow "entry 3 ...", or None."""
    if not isinstance(entry, dict):
        return f"is {entry!r:.80}, expected an object with {', '.join(DETECTION_KEYS)}"
    if missing := [key for key in DETECTION_KEYS if key not in entry]:
        return f"has no {' and no '.join(missing)}, expected {', '.join(DETECTION_KEYS)}"
    for key, known in (("image_id", ground_truth.imgs), ("category_id", ground_truth.cats)):
        # True == 1 in Python, so a JSON `true` would pass for the id 1.
        if isinstance(entry[key], bool) or not isinstance(entry[key], int | str) or entry[key] not in known:
            choices = ", ".join(map(str, sorted(known)[:8])) + (", ..." if len(known) > 8 else "")
            return f"has {key} {entry[key]!r:.80}, which the annotations do not have; they have {choices}"
    bbox = entry["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_finite, bbox)) or min(bbox[2:]) < 0:
        return f"has bbox {bbox!r:.80}, expected 4 finite numbers: left, top, width >= 0, height >= 0 in pixels"
    if not _is_finite(entry["score"]):
        return f"has score {entry['score']!r:.80}, expected a finite number"
    return None


def _is_finite(value: Any) -> bool:
    # A comparison, since math.isfinite overflows on an integer of 400 digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _numbered_truth(ground_truth: COCO) -> COCO:
    annotations = []
    for number, annotation in enumerate(ground_truth.dataset.get("annotations", []), start=1):
        _, _, width, height = annotation["bbox"]
        copy = {key: annotation[key] for key in ("image_id", "category_id", "bbox")}
        area, iscrowd = annotation.get("area", width * height), annotation.get("iscrowd", 0)
        annotations.append({**copy, "id": number, "area": area, "iscrowd": iscrowd})
    return _coco(ground_truth, annotations)


def _as_coco_results(ground_truth: COCO, detections: Iterable[Detection]) -> COCO:
    """What `COCO.loadRes` makes of detections, without its polygon for each box and its crash on an empty list."""
    results = []
    for number, detection in enumerate(detections, start=1):
        if detection["image_id"] not in ground_truth.imgs:
            raise InputError(
                f"detection {number - 1} has image_id {detection['image_id']}, which the annotations do not have"
            )
        width, height = detection["bbox"][2:]
        results.append({**detection, "id": number, "area": width * height, "iscrowd": 0})
    return _coco(ground_truth, results)


def _coco(ground_truth: COCO, annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    kept = {key: ground_truth.dataset.get(key, []) for key in ("images", "categories")}
    coco.dataset = {**kept, "annotations": annotations}
    coco.createIndex()
    return coco


def _per_class(evaluation: COCOeval) -> dict[str, dict[str, float]]:
    scored, truth = set(evaluation.params.imgIds), evaluation.cocoGt
    boxes = Counter(a["category_id"] for a in truth.anns.values() if a["image_id"] in scored and not a["iscrowd"])
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # T R K A M, T K A M
    table: dict[str, dict[str, float]] = {}
    for k, category_id in enumerate(evaluation.params.catIds):
        name = str(truth.cats[category_id].get("name", category_id))
        name = f"{name} ({category_id})" if name in table else name  # two categories of one name stay two rows
        averages = {f"AP{size}": _mean(precision[:, :, k, area, -1]) for area, size in enumerate(("", "s", "m", "l"))}
        table[name] = {
            "AP": averages["AP"],
            "AP50": _mean(precision[0, :, k, 0, -1]),
            "APs": averages["APs"],
            "APm": averages["APm"],
            "APl": averages["APl"],
            "AR100": _mean(recall[:, k, 0, -1]),
            "boxes": boxes[category_id],
        }
    return table


def _mean(values: np.ndarray) -> float:
    """Mean over the settings that have ground truth, as COCOeval's summary takes it; -1 if none has."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0
