"""Sliced inference: overlapping parts of an image at full resolution, so that small objects are not scaled away.

After SAHI (arXiv 2202.06934); the grid of parts and the merging are those of its package `sahi` as it comes.
`N` boxes, each (left, top, right, bottom, score, class index).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

# Boxes of one class that cover this share of the smaller (below LOW_CONFIDENCE: of both together) are one object.
MATCH_THRESHOLD = 0.5
# With so many weak boxes in it, merging would make boxes grow: only the strongest is kept then.
LOW_CONFIDENCE = 0.1


@dataclass(frozen=True)
class Slicing:
    """How images are cut: squares of `side` pixels that share the fraction `overlap` of it with their neighbours."""

    side: int
    overlap: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError where the squares would never come to an end."""
        if not 0 <= self.overlap < 1:
            raise ValueError(f"expected an overlap from 0 to below 1, got {self.overlap}")

    def parts(self, H: int, W: int) -> list[tuple[int, int, int, int]]:
        """(left, top, right, bottom) of every part, row by row; last the whole image where that is not the only one."""
        rows, columns = list(self._spans(H)), list(self._spans(W))
        parts = [(left, top, right, bottom) for (top, bottom), (left, right) in product(rows, columns)]
        return parts if len(parts) == 1 else [*parts, (0, 0, W, H)]

    def _spans(self, length: int) -> Iterator[tuple[int, int]]:
        """First and last pixel + 1 along one axis; the last span is moved back to be as long as the others."""
        end = 0
        while end < length:
            start = max(end - int(self.overlap * self.side), 0) if end else 0
            end = min(start + self.side, length)
            yield max(end - self.side, 0), end


def merge(boxes: np.ndarray, *, conf_thres: float) -> np.ndarray:
    """(N', 6) boxes by falling score, those of the same object as one.

    From the strongest on, a box takes in all weaker ones of its class that match it, and becomes the box around them.

    Args:
        boxes: (N, 6) of all parts, in pixels of the image. N may be 0.
        conf_thres: the least score that a box may have; below LOW_CONFIDENCE the weaker are left out, not merged.
    """
    by_score = boxes[np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -boxes[:, 4]))]
    growing = conf_thres >= LOW_CONFIDENCE
    merged: list[np.ndarray] = []
    left = np.ones(len(by_score), bool)
    for i, box in enumerate(by_score):
        if not left[i]:
            continue
        left[i] = False
        same = left & (by_score[:, 5] == box[5])
        matching = np.flatnonzero(same)[_share(box, by_score[same], of_smaller=growing) >= MATCH_THRESHOLD]
        left[matching] = False
        merged.append(_grown(box, by_score[matching]) if growing else box)
    return np.stack(merged) if merged else boxes


def _grown(box: np.ndarray, weaker: np.ndarray) -> np.ndarray:
    """The box around `box` and those of `weaker` that, one after the other, match what it has become."""
    box = box.copy()
    for other in weaker:
        if _share(box, other[None], of_smaller=True)[0] >= MATCH_THRESHOLD:
            box[:2] = np.minimum(box[:2], other[:2])
            box[2:4] = np.maximum(box[2:4], other[2:4])
    return box


def _share(box: np.ndarray, others: np.ndarray, *, of_smaller: bool) -> np.ndarray:
    """(N,) intersection of a box with others, over the smaller of the two, or over their union."""
    wh = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    intersection = wh.clip(0).prod(1)
    area, areas = (box[2:4] - box[:2]).prod(), (others[:, 2:4] - others[:, :2]).prod(1)
    whole = np.minimum(area, areas) if of_smaller else area + areas - intersection
    return np.divide(intersection, whole, out=np.zeros_like(intersection), where=whole > 0)
