"""COCOeval, without a visit to every image for every class.

Of 5,000 images and 80 classes COCOeval asks 400,000 pairs five times each, and most of them hold no box.
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
    """COCOeval that matches pairs of image and class in which there is a box, by its own rules and its own code."""

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
            self.ious = {(image_id, category_id): self.computeIoU(image_id, category_id)}
            first = class_place[category_id] * ranges * images + image_place[image_id]
            self.evalImgs[first : first + ranges * images : images] = [
                self.evaluateImg(image_id, category_id, area, p.maxDets[-1]) for area in p.areaRng
            ]
            if progress is not None and done % SHOWN_EVERY == 0:
                progress(done, len(pairs))
        self._paramsEval = copy.deepcopy(p)


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
