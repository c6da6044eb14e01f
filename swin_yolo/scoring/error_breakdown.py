"""What each kind of error costs: the AP50 gained when only that kind is mended, as in TIDE (Bolya et al. 2020).

See arXiv 2008.08115. A detection that is not right is an error of the first kind below that fits. What counts is its
IoU with the object of its own class that it overlaps most, and with the object of another class that it overlaps most:

    localisation    own class, from 0.1 to below 0.5; mended: its box becomes the object's
    classification  another class, from 0.5; mended: its class becomes the object's
    duplicate       own class, from 0.5, so that another detection has found the object; mended: removed
    both            another class, from 0.1 to below 0.5; mended: removed
    background      neither from 0.1; mended: removed
    missed          an object that is not found and that no localisation or classification error is about;
                    mended: not asked for

If a mended detection finds an object that another one finds too, the one of lower score is removed. Matching is
COCOeval's: it keeps 100 detections of a class in an image, and those that lie in a crowd of their class are neither
right nor wrong. AP50 is COCO's, at 101 recalls. The authors' package tidecv does four things otherwise: a mended
detection never takes an object over from one of lower score, localisation and classification errors contend for one
object although only one kind is mended, 100 detections of an image are kept, and classes without objects are averaged.

`N` detections and `G` objects of all images, `K` categories in ascending order of category_id.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

from swin_yolo.scoring.accumulation import RECALLS
from swin_yolo.scoring.coco_objects import (
    Detection,
    coco_object,
    of_known_images,
    quiet,
    result_annotations,
    truth_annotations,
)
from swin_yolo.scoring.sparse_evaluation import SparseEvaluation

ERROR_TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")
T_F, T_B = 0.5, 0.1  # foreground and background IoU threshold


@dataclass(frozen=True, eq=False)
class _Ranking:
    """What AP is counted from.

    Attributes:
        class_index, score, hit: (N,) of the detections, class by class and image by image; `hit` if right.
        asked: (K,) objects that are to be found.
    """

    class_index: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    asked: np.ndarray

    def without(self, removed: np.ndarray) -> "_Ranking":
        """The detections that are not in the mask `removed` (N,)."""
        return _Ranking(self.class_index[~removed], self.score[~removed], self.hit[~removed], self.asked)

    def ap50(self, classes: np.ndarray) -> float:
        """Mean AP of `classes`."""
        return float(np.mean([self._average_precision(k) for k in classes]))

    def _average_precision(self, k: int) -> float:
        of_class = np.flatnonzero(self.class_index == k)
        if not self.asked[k]:
            return float(not of_class.size)
        hits = np.cumsum(self.hit[of_class[np.argsort(-self.score[of_class], kind="mergesort")]])
        precision = hits / (np.arange(1, len(hits) + 1) + np.spacing(1))
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)  # 0 at recalls that are not reached
        return float(best[np.searchsorted(hits / self.asked[k], RECALLS)].mean())


@dataclass(frozen=True, eq=False)
class _Errors:
    """What is wrong with each detection.

    Attributes:
        finds: (N,) the object that it finds, -1 if it is an error.
        kind: (N,) of the error, "" if there is none.
        meant: (N,) the object that a localisation or classification error is about, -1 otherwise.
    """

    finds: np.ndarray
    kind: np.ndarray
    meant: np.ndarray


def error_breakdown(ground_truth: COCO, detections: Iterable[Detection]) -> dict[str, float]:
    """AP50 gained by mending each kind of error alone, 0..1, in the order of `ERROR_TYPES`. The gains do not add up.

    Args:
        ground_truth: as pycocotools loads it; neither it nor `detections` is changed.
        detections: COCO results entries; may be empty.

    Returns:
        -1 for each kind where `ground_truth` has no objects. Where all objects of a class are missed, none is asked for
        once that is mended: the AP50 of the class then is 1 if it has no detections and 0 if it has any.

    Raises:
        InputError: a detection is of an image that `ground_truth` does not have.
    """
    truth = truth_annotations(ground_truth)
    results = result_annotations(of_known_images(ground_truth, detections))
    objects = [box for box in truth if not box["iscrowd"] and box["category_id"] in ground_truth.cats]
    if not objects:
        return dict.fromkeys(ERROR_TYPES, -1.0)
    class_of = {category_id: k for k, category_id in enumerate(sorted(ground_truth.cats))}
    object_class = np.array([class_of[box["category_id"]] for box in objects])

    ids, found_ids = _matched(ground_truth, truth, results)
    boxes = [results[number - 1] for number in ids]
    class_index = np.array([class_of[box["category_id"]] for box in boxes], np.int64)
    score = np.array([box["score"] for box in boxes], np.float64)
    asked = np.bincount(object_class, minlength=len(class_of))
    place = {box["id"]: g for g, box in enumerate(objects)} | {0: -1}
    finds = np.array([place[number] for number in found_ids.tolist()], np.int64)
    errors = _errors(finds, *_overlaps(boxes, class_index, objects, object_class))
    return _gains(_Ranking(class_index, score, finds >= 0, asked), errors, object_class)


def _gains(ranking: _Ranking, errors: _Errors, object_class: np.ndarray) -> dict[str, float]:
    missed = np.setdiff1d(np.arange(len(object_class)), np.concatenate([errors.finds, errors.meant]))
    left = ranking.asked - np.bincount(object_class[missed], minlength=len(ranking.asked))
    mended = {
        **{kind: _corrected(ranking, errors, kind, object_class) for kind in ("classification", "localisation")},
        **{kind: ranking.without(errors.kind == kind) for kind in ("both", "duplicate", "background")},
        "missed": _Ranking(ranking.class_index, ranking.score, ranking.hit, left),
    }
    classes = np.flatnonzero(ranking.asked)
    before = ranking.ap50(classes)
    return {kind: mended[kind].ap50(classes) - before for kind in ERROR_TYPES}


def _corrected(ranking: _Ranking, errors: _Errors, kind: str, object_class: np.ndarray) -> _Ranking:
    """The ranking once each error of a kind finds the object that it is about, unless it scores less than a rival."""
    class_index, hit, removed = ranking.class_index.copy(), ranking.hit.copy(), errors.kind == kind
    rivals = np.flatnonzero(removed | ranking.hit)
    rivals = rivals[np.argsort(-ranking.score[rivals], kind="mergesort")]
    about = np.where(removed, errors.meant, errors.finds)[rivals]
    _, best = np.unique(about, return_index=True)
    winners = rivals[best]
    removed[rivals] = True
    removed[winners] = False
    hit[winners], class_index[winners] = True, object_class[about[best]]
    return _Ranking(class_index, ranking.score, hit, ranking.asked).without(removed)


def _matched(
    ground_truth: COCO, truth: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ids of the detections that COCOeval counts at IoU `T_F`, and of the objects that they find, 0 for none."""
    with quiet():
        evaluation = SparseEvaluation(coco_object(ground_truth, truth), coco_object(ground_truth, results), "bbox")
        params = evaluation.params
        params.iouThrs, params.areaRng, params.maxDets = np.array([T_F]), params.areaRng[:1], params.maxDets[-1:]
        evaluation.evaluate()
    evaluated = [one for one in evaluation.evalImgs if one is not None]  # class by class, image by image
    ids, found_ids, ignored = (
        np.concatenate([np.zeros(0), *(np.ravel(one[key]) for one in evaluated)]).astype(np.int64)
        for key in ("dtIds", "dtMatches", "dtIgnore")
    )
    return ids[ignored == 0], found_ids[ignored == 0]


def _overlaps(
    boxes: Sequence[Detection], class_index: np.ndarray, objects: Sequence[dict[str, Any]], object_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(2, N) highest IoU with an object of the own class and with one of another, and (2, N) with which object."""
    iou, which = np.zeros((2, len(boxes))), np.full((2, len(boxes)), -1)
    objects_in = _by_image(objects)
    for image_id, found in _by_image(boxes).items():
        if image_id not in objects_in:
            continue
        there = objects_in[image_id]
        overlap = mask.iou([boxes[n]["bbox"] for n in found], [objects[g]["bbox"] for g in there], [0] * len(there))
        same = class_index[found][:, None] == object_class[there]
        for row, allowed in enumerate((same, ~same)):
            candidates = np.where(allowed, overlap, 0.0)
            iou[row, found], which[row, found] = candidates.max(axis=1), there[candidates.argmax(axis=1)]
    return iou, which


def _by_image(boxes: Sequence[dict[str, Any]]) -> dict[Any, np.ndarray]:
    places = defaultdict(list)
    for place, box in enumerate(boxes):
        places[box["image_id"]].append(place)
    return {image_id: np.array(of_image) for image_id, of_image in places.items()}


def _errors(finds: np.ndarray, iou: np.ndarray, which: np.ndarray) -> _Errors:
    own, other = iou
    kinds = {
        "": finds >= 0,
        "localisation": (own >= T_B) & (own < T_F),
        "classification": other >= T_F,
        "duplicate": own >= T_F,
        "both": other >= T_B,
    }
    kind = np.select(list(kinds.values()), list(kinds), "background")
    return _Errors(finds, kind, np.select([kind == "localisation", kind == "classification"], which, -1))
