"""COCO average precision of box detections, by pycocotools.

`K` categories in ascending order of category_id, which is the order of every per-class array here.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swin_yolo.errors import InputError
from swin_yolo.scoring.accumulation import valid_mean
from swin_yolo.scoring.coco_objects import (
    Detection,
    class_names,
    coco_object,
    of_known_images,
    quiet,
    result_annotations,
    truth_annotations,
)
from swin_yolo.scoring.sparse_evaluation import SparseEvaluation, without_collection

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
DETECTION_KEYS = ("image_id", "category_id", "bbox", "score")


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
    ground_truth: COCO,
    detections: Iterable[Detection],
    *,
    image_ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CocoScore:
    """COCOeval's bbox numbers of `detections`.

    Neither argument is changed. Annotations are renumbered from 1 in a copy; `coco_objects` says why.

    Args:
        ground_truth: as pycocotools loads it. A missing `iscrowd` is 0, a missing `area` is width x height.
        detections: COCO results entries; may be empty.
        image_ids: the images to score; None scores all.
        progress: called now and then with how much is matched and of how much, counted in pairs of an image and a class
            that has boxes in it; on a small set not at all.

    Raises:
        InputError: a detection is of an image that `ground_truth` does not have.
    """
    with without_collection():
        results = result_annotations(of_known_images(ground_truth, detections))
        with quiet():
            truth = coco_object(ground_truth, truth_annotations(ground_truth))
            evaluation = SparseEvaluation(truth, coco_object(ground_truth, results), "bbox")
            if image_ids is not None:
                evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate(progress)
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


def _per_class(evaluation: COCOeval) -> dict[str, dict[str, float]]:
    scored, truth = set(evaluation.params.imgIds), evaluation.cocoGt
    boxes = Counter(a["category_id"] for a in truth.anns.values() if a["image_id"] in scored and not a["iscrowd"])
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # T R K A M, T K A M
    table: dict[str, dict[str, float]] = {}
    for k, (category_id, name) in enumerate(class_names(truth).items()):
        averages = {
            f"AP{size}": valid_mean(precision[:, :, k, area, -1]) for area, size in enumerate(("", "s", "m", "l"))
        }
        table[name] = {
            "AP": averages["AP"],
            "AP50": valid_mean(precision[0, :, k, 0, -1]),
            "APs": averages["APs"],
            "APm": averages["APm"],
            "APl": averages["APl"],
            "AR100": valid_mean(recall[:, k, 0, -1]),
            "boxes": boxes[category_id],
        }
    return table
