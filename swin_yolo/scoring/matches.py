"""COCO numbers of any multiset of a data set's images, from one matching of the detections.

`match` runs COCOeval's matching once; `Matches.metrics` then gives what COCOeval would say of a data set in which every
image is there a chosen number of times.

`I` images in ascending order of image_id, `K` categories in ascending order of category_id, `D` detections of one class
by falling score, `T`, `A` and `R` as in `accumulation`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from swin_yolo.scoring.accumulation import SIZE_RANGES, A, ClassMatches, T, sums_before, valid_mean
from swin_yolo.scoring.coco_objects import (
    Detection,
    class_names,
    coco_object,
    of_known_images,
    quiet,
    result_annotations,
    truth_annotations,
)
from swin_yolo.scoring.sparse_evaluation import SparseEvaluation

IOU_50, IOU_75 = 0, 5

Evaluated = dict[str, Any]  # what COCOeval says of one image, one class and one size range


@dataclass(frozen=True, eq=False)
class Matches:
    """How detections match ground truth, ready to be counted with any number of copies of each image.

    Attributes:
        image_ids: (I,) ascending.
        names: of the K classes.
        classes: their matches.
    """

    image_ids: np.ndarray
    names: tuple[str, ...]
    classes: tuple[ClassMatches, ...]

    def metrics(self, copies: np.ndarray | None = None) -> np.ndarray:
        """COCO's numbers, -1 where there is no ground truth.

        Args:
            copies: (I,) integers >= 0, how often each image counts; None counts each once. A copy stands right behind
                its original, which decides the order of equal scores.

        Returns:
            (12 + K,) the numbers of `METRIC_NAMES`, then the AP of each class.

        Raises:
            ValueError: `copies` are not I integers >= 0.
        """
        copies = np.ones(len(self.image_ids), np.int64) if copies is None else np.asarray(copies)
        if copies.shape != self.image_ids.shape or copies.dtype.kind not in "iu" or (copies < 0).any():
            raise ValueError(
                f"copies must be {len(self.image_ids)} integers >= 0, got {copies.dtype} of shape {copies.shape}"
                f"{f' down to {copies.min()}' if copies.size else ''}"
            )
        averages = [one.averages(copies.astype(np.int64)) for one in self.classes]
        precision = np.array([precision for precision, _ in averages]).reshape(-1, A, T)  # K A T
        recall = np.array([recall for _, recall in averages]).reshape(-1, A + 2, T)  # K A+2 T
        everything = precision[:, 0]  # K T
        numbers = [everything, everything[:, IOU_50], everything[:, IOU_75], *precision[:, 1:].swapaxes(0, 1)]
        numbers += [recall[:, row] for row in (A, A + 1, 0, 1, 2, 3)]
        return np.array([valid_mean(values) for values in (*numbers, *everything)])

    def images_with_objects(self) -> np.ndarray:
        """(12 + K,) on how many images each of the numbers of `metrics` has ground truth."""
        of_class = [one.object_image[one.object_range == 0] for one in self.classes]
        by_size = [
            np.concatenate([np.zeros(0, int), *(one.object_image[one.object_range == size] for one in self.classes)])
            for size in range(A)
        ]
        everything, *sizes = by_size
        columns = [*[everything] * 3, *sizes, *[everything] * 3, *sizes, *of_class]
        return np.array([len(np.unique(images)) for images in columns])


def match(
    ground_truth: COCO, detections: Iterable[Detection], *, progress: Callable[[int, int], None] | None = None
) -> Matches:
    """COCOeval's matching of `detections`: class by class, so that pycocotools' objects of one class at most are kept.

    Args:
        ground_truth: as pycocotools loads it; neither it nor `detections` is changed.
        detections: COCO results entries; may be empty.
        progress: called after every class with the number of classes done and of all.

    Raises:
        InputError: a detection is of an image that `ground_truth` does not have.
    """
    image_ids, names = np.array(sorted(ground_truth.imgs)), class_names(ground_truth)
    truth, found = defaultdict(list), defaultdict(list)
    for annotation in truth_annotations(ground_truth):
        truth[annotation["category_id"]].append(annotation)
    for detection in of_known_images(ground_truth, detections):
        found[detection["category_id"]].append(detection)
    classes = []
    for category_id in names:
        results = result_annotations(found.pop(category_id, []))
        images, evaluated = _evaluate(ground_truth, category_id, truth.pop(category_id, []), results)
        classes.append(
            _flattened(np.searchsorted(image_ids, images), evaluated, np.array([r["area"] for r in results]))
        )
        if progress is not None:
            progress(len(classes), len(names))
    return Matches(image_ids, tuple(names.values()), tuple(classes))


def _evaluate(
    ground_truth: COCO, category_id: int, truth: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[list[Any], list[list[Evaluated]]]:
    """Ids of the images with boxes of one class, ascending, and for each size range what COCOeval says of each."""
    images = sorted({box["image_id"] for boxes in (truth, results) for box in boxes})
    if not images:  # which COCOeval would take for all images
        return images, [[]] * A
    with quiet():
        evaluation = SparseEvaluation(coco_object(ground_truth, truth), coco_object(ground_truth, results), "bbox")
        evaluation.params.imgIds, evaluation.params.catIds = images, [category_id]
        evaluation.evaluate()
    return images, [evaluation.evalImgs[a * len(images) : (a + 1) * len(images)] for a in range(A)]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The D detections of a class in the order in which COCOeval accumulates them.

    Attributes:
        order: their places in the order in which they come from COCOeval, image by image.
        image, rank, area: place of the image, place among the image's detections, width x height in pixels.
        run_first, run_end: first detection of the run of equal scores in one image, and the one behind the run.
    """

    order: np.ndarray
    image: np.ndarray
    rank: np.ndarray
    area: np.ndarray
    run_first: np.ndarray
    run_end: np.ndarray


def _ranked(image: np.ndarray, evaluated: Sequence[Evaluated], areas: np.ndarray) -> _Ranked:
    counts = np.array([len(one["dtIds"]) for one in evaluated], np.int64)
    scores = np.concatenate([[], *(one["dtScores"] for one in evaluated)])
    ids = np.concatenate([np.zeros(0, np.int64), *(one["dtIds"] for one in evaluated)]).astype(np.int64)
    order = np.argsort(-scores, kind="mergesort")  # stable, as in COCOeval
    image, scores = np.repeat(image, counts)[order], scores[order]
    rank = np.arange(len(order)) - np.repeat(sums_before(counts)[:-1], counts)
    starts = np.flatnonzero(_differs(image) | _differs(scores))
    length = np.diff(starts, append=len(order))
    run_first = np.repeat(starts, length)
    return _Ranked(order, image, rank[order], areas[ids - 1][order], run_first, run_first + np.repeat(length, length))


def _flattened(image: np.ndarray, evaluated: Sequence[Sequence[Evaluated]], areas: np.ndarray) -> ClassMatches:
    """What `_evaluate` gives, flat; `image` are the places of its images, `areas` those of detections 1, 2 .."""
    ranked = _ranked(image, evaluated[0], areas)
    matched, ignored = (
        np.stack([np.concatenate([np.zeros((T, 0)), *(one[key] for one in images)], 1) > 0 for images in evaluated])
        for key in ("dtMatches", "dtIgnore")
    )
    matched, hit = matched[..., ranked.order], (matched & ~ignored)[..., ranked.order]  # A T D
    low, high = SIZE_RANGES.T[..., None]
    in_range = (ranked.area >= low) & (ranked.area <= high)  # A D
    objects = np.array([[np.count_nonzero(one["gtIgnore"] == 0) for one in images] for images in evaluated], int)
    return ClassMatches(
        object_image=np.repeat(np.tile(image, A), objects.ravel()),
        object_range=np.repeat(np.arange(A), objects.sum(1)),
        **_hits(hit, ranked),
        **_entries(matched, hit, in_range, ranked),
    )


def _hits(hit: np.ndarray, ranked: _Ranked) -> dict[str, np.ndarray]:
    a, t, d = np.nonzero(hit)
    first, first_10 = ((a == 0) & (ranked.rank[d] < most) for most in (1, 10))
    rows = [a * T + t, A * T + t[first], (A + 1) * T + t[first_10]]
    return {
        "hit_image": ranked.image[np.concatenate([d, d[first], d[first_10]])],
        "hit_row": np.concatenate(rows),
    }


def _entries(matched: np.ndarray, hit: np.ndarray, in_range: np.ndarray, ranked: _Ranked) -> dict[str, np.ndarray]:
    a, t, d = np.nonzero(matched & (hit | in_range[:, None]))
    group, shift = a * T + t, a * in_range.shape[1]
    seen = sums_before(in_range.ravel())  # A*D + 1
    before = seen[shift + ranked.run_first[d]]
    run_start = np.flatnonzero(_differs(group) | _differs(ranked.run_first[d]))
    return {
        "seen_image": ranked.image[np.nonzero(in_range)[1]],
        "seen_start": seen[np.arange(A) * in_range.shape[1]],
        "run_image": ranked.image[d[run_start]],
        "run_start": run_start,
        "run_length": np.diff(run_start, append=len(d)),
        "group_start": np.searchsorted(group[run_start], np.arange(A * T + 1)),
        "hit": hit[a, t, d],
        "in_range": in_range[a, d],
        "before": before,
        "within": seen[shift + d + 1] - before,
        "run_seen": seen[shift + ranked.run_end[d]] - before,
    }


def _differs(values: np.ndarray) -> np.ndarray:
    """Whether each value differs from the one before it; the first does."""
    return np.append(np.ones(min(len(values), 1), bool), values[1:] != values[:-1])
