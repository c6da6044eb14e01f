"""COCOeval's accumulation for one class, with any number of copies of each image.

A copy of an image stands right behind its original. Two observations then make it fast and keep it exact:

- Recall rises at true positives only, and precision falls at every false one. Interpolated precision therefore needs
  true positives alone and the number of false ones before each, which is a running sum of copies over the detections.
- Detections of one score keep the order of their images, so a detection is repeated where it stands. Detections of one
  score in one image, a *run*, are the exception: copied, d1 d2 becomes d1 d2 d1 d2 and not d1 d1 d2 d2. So it is runs
  that are repeated. Almost all of them hold one detection.

`I` images in ascending order of image_id, `T` = 10 IoU thresholds, `A` = 4 size ranges (all, small, medium, large),
`R` = 101 recalls.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

_PARAMS = COCOeval(iouType="bbox").params
SIZE_RANGES = np.array(_PARAMS.areaRng)  # A 2
T, A = len(_PARAMS.iouThrs), len(SIZE_RANGES)
RECALLS = _PARAMS.recThrs  # R


def sums_before(counts: np.ndarray) -> np.ndarray:
    """(N + 1,) sum of the counts before each place, and of all."""
    return np.concatenate([[0], np.cumsum(counts)])


def valid_mean(values: np.ndarray) -> float:
    """Mean over the settings that have ground truth, as COCOeval's summary takes it; -1 if none has."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """The matches of one class.

    A *group* is a size range a and an IoU threshold t, its number is a * T + t. Its *entries* are the matched
    detections that are right or themselves within the size range, by falling score.

    Attributes:
        object_image, object_range: image and size range of every object that counts, once for each range it is in.
        hit_image, hit_row: image of every true positive and the recall that it raises: a * T + t, and once more with
            4 and 5 for a if it is the first and among the first 10 detections of its image.
        seen_image: images of the detections within a size range, by falling score, one range after the other.
        seen_start: (A,) where each range starts in `seen_image`.
        run_image, run_start, run_length: image, first entry and number of entries of every run.
        group_start: (A * T + 1,) where each group starts in the runs.
        hit, in_range: whether an entry is a true positive, and whether it is itself within the size range.
        before: where in `seen_image` the run of an entry starts.
        within, run_seen: how many of the run's detections are seen up to and with the entry, and in all.
    """

    object_image: np.ndarray
    object_range: np.ndarray
    hit_image: np.ndarray
    hit_row: np.ndarray
    seen_image: np.ndarray
    seen_start: np.ndarray
    run_image: np.ndarray
    run_start: np.ndarray
    run_length: np.ndarray
    group_start: np.ndarray
    hit: np.ndarray
    in_range: np.ndarray
    before: np.ndarray
    within: np.ndarray
    run_seen: np.ndarray

    def averages(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average precision (A, T) and recall (A + 2, T) with `copies` (I,) of each image; -1 without objects."""
        objects = np.bincount(self.object_range, copies[self.object_image], A)  # A
        hits = np.bincount(self.hit_row, copies[self.hit_image], (A + 2) * T).reshape(A + 2, T)
        precision = self._interpolated(copies, hits_needed(objects)).mean(axis=-1)  # A T
        of_row = objects[[*range(A), 0, 0], None]
        recall = np.where(of_row > 0, hits / np.maximum(of_row, 1), -1.0)
        return np.where(objects[:, None] > 0, precision, -1.0), recall

    def _interpolated(self, copies: np.ndarray, needed: np.ndarray) -> np.ndarray:
        """(A, T, R) the best precision with at least as many true positives as `needed` (A, R), 0 where none has."""
        entry, copy, sizes = self._repeated(copies)
        if not entry.size:
            return np.zeros((A, T, needed.shape[1]))
        start = sums_before(sizes)[:-1]
        seen = sums_before(copies[self.seen_image])
        shown = seen[self.before[entry]] + copy * self.run_seen[entry] + self.within[entry]
        shown -= np.repeat(seen[np.repeat(self.seen_start, T)], sizes)
        matched, true = np.cumsum(self.in_range[entry]), np.cumsum(self.hit[entry])
        matched_before, true_before = (np.concatenate([[0], total])[start] for total in (matched, true))
        hits = true - np.repeat(true_before, sizes)
        misses = shown - (matched - np.repeat(matched_before, sizes))
        precision = hits / (misses + hits + np.spacing(1))
        for first, size in zip(start, sizes, strict=True):
            backwards = precision[first : first + size][::-1]
            np.maximum.accumulate(backwards, out=backwards)
        # `true` never falls, from one group to the next neither, so one search finds the places in all groups.
        sought = np.repeat(needed, T, axis=0) + true_before[:, None]  # A*T R
        found = np.searchsorted(true, sought)
        reached = found < (start + sizes)[:, None]
        return np.where(reached, precision[np.minimum(found, precision.size - 1)], 0.0).reshape(A, T, -1)

    def _repeated(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Entries with their runs repeated, the number of the copy that each is in, and (A * T,) sizes of groups."""
        repeats = copies[self.run_image]
        run = np.repeat(np.arange(len(repeats)), repeats)
        copy = np.arange(len(run)) - np.repeat(sums_before(repeats)[:-1], repeats)
        length = self.run_length[run]
        places = sums_before(length)
        entry = np.repeat(self.run_start[run] - places[:-1], length) + np.arange(places[-1])
        sizes = np.diff(sums_before(repeats * self.run_length)[self.group_start])
        return entry, np.repeat(copy, length), sizes


def hits_needed(objects: np.ndarray) -> np.ndarray:
    """(A, R) the fewest true positives, at least 1, whose share of `objects` (A,) reaches each recall."""
    total = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALLS * total)
    # COCOeval compares the quotients, and 0.07 * 100 is more than 7: rounding may be off by one either way.
    needed -= (needed - 1) / total >= RECALLS
    needed += needed / total < RECALLS
    return np.maximum(needed, 1).astype(np.int64)
