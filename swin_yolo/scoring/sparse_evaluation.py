"""COCOeval, without a visit to every image for every class, nor to detections far from every object.

Of 5,000 images and 80 classes COCOeval asks 400,000 pairs five times each, and most of them hold no box. Of the boxes
that a model still learning its first epochs gives, most overlap no object enough to match it.
"""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

SHOWN_EVERY = 5_000  # pairs of image and class, about a second


class SparseEvaluation(COCOeval):
    """COCOeval that matches what can match, by its own rules and its own code."""

    def evaluate(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Match every pair that has a box, into `evalImgs` as COCOeval does; it has None for the others.

        Args:
            progress: called now and then with how many pairs are done, and of how many.
        """
        p = self.params
        p.imgIds, p.catIds, p.maxDets = list(np.unique(p.imgIds)), list(np.unique(p.catIds)), sorted(p.maxDets)
        self._prepare()
        images, ranges = len(p.imgIds), len(p.areaRng)
        image_place = {image_id: i for i, image_id in enumerate(p.imgIds)}
        class_place = {category_id: k for k, category_id in enumerate(p.catIds)}
        self.evalImgs: list[Any] = [None] * (len(p.catIds) * ranges * images)
        pairs = sorted(self._gts.keys() | self._dts.keys())  # as they lie in memory
        for done, (image_id, category_id) in enumerate(pairs, start=1):
            first = class_place[category_id] * ranges * images + image_place[image_id]
            self.evalImgs[first : first + ranges * images : images] = self._matched(image_id, category_id)
            if progress is not None and done % SHOWN_EVERY == 0:
                progress(done, len(pairs))
        self._paramsEval = copy.deepcopy(p)

    def _matched(self, image_id: int, category_id: int) -> list[dict[str, Any]]:
        """What `evaluateImg` gives for each area range, from the detections within reach of an object alone."""
        p, pair = self.params, (image_id, category_id)
        detections = sorted(self._dts[pair], key=lambda d: -d["score"])[: p.maxDets[-1]]  # stable, as COCOeval's order
        ious = self.computeIoU(*pair)
        near = np.zeros(len(detections), bool)
        near[:1] = True  # of a pair without any box evaluateImg would give None
        if len(ious):
            near |= ious.max(axis=1) >= min(*p.iouThrs, 1 - 1e-10)  # the least that it lets match
            ious = ious[near]
        self.ious = {pair: ious}
        self._dts[pair] = [detections[i] for i in np.flatnonzero(near)]
        found = [self.evaluateImg(*pair, area, p.maxDets[-1]) for area in p.areaRng]
        self._dts[pair] = detections
        return [_with_all(match, detections, near) for match in found]


def _with_all(match: dict[str, Any], detections: list[dict[str, Any]], near: np.ndarray) -> dict[str, Any]:
    """An entry of `evalImgs` for the detections that are near some object, with the others in it as unmatched."""
    low, high = match["aRng"]
    thresholds = len(match["dtMatches"])
    matches = np.zeros((thresholds, len(detections)))
    matches[:, near] = match["dtMatches"]
    beyond = np.array([d["area"] < low or d["area"] > high for d in detections], bool)
    ignored = np.tile(beyond, (thresholds, 1))
    ignored[:, near] = match["dtIgnore"]
    return {
        **match,
        "dtIds": [d["id"] for d in detections],
        "dtScores": [d["score"] for d in detections],
        "dtMatches": matches,
        "dtIgnore": ignored,
    }


@contextmanager
def without_collection() -> Iterator[None]:
    """Let Python not look for cycles of dead objects: of the millions that scoring makes, it would find none."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
