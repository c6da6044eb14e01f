import gc

import numpy as np
import pytest
from coco_sets import coco, found
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swin_yolo.scoring import sparse_evaluation
from swin_yolo.scoring.coco_objects import coco_object, quiet, result_annotations
from swin_yolo.scoring.sparse_evaluation import SparseEvaluation, without_collection


def heap(seed: int) -> tuple[COCO, COCO]:
    """Boxes of all sizes that lie on each other: many objects for a detection, crowds, tied scores, empty pairs."""
    rng = np.random.default_rng(seed)

    def boxes(number: int):
        for _ in range(number):
            side = rng.choice([20, 31.9, 32, 40, 95, 96, 110])
            yield int(rng.integers(1, 4)), int(rng.choice([2, 5])), (*rng.integers(0, 12, 2).tolist(), side, side)

    rows = [(*box, rng.random() < 0.2) for box in boxes(int(rng.integers(0, 25)))]
    truth = coco(rows, images=(1, 2, 3, 4), categories=(2, 5, 9))
    detections = [found(*box, round(rng.random(), 1)) for box in boxes(int(rng.integers(0, 40)))]
    with quiet():
        return truth, coco_object(truth, result_annotations(detections))


def evaluated(kind: type[COCOeval], truth: COCO, detections: COCO, **params) -> COCOeval:
    evaluation = kind(truth, detections, "bbox")
    for name, value in params.items():
        setattr(evaluation.params, name, value)
    with quiet():
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def assert_equal(ours: COCOeval, theirs: COCOeval) -> None:
    assert len(ours.evalImgs) == len(theirs.evalImgs)
    for mine, stock in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        if stock is None:
            assert mine is None
            continue
        assert mine.keys() == stock.keys()
        for key, value in stock.items():
            if isinstance(value, np.ndarray):
                assert mine[key].shape == value.shape and mine[key].dtype == value.dtype, key
            assert np.array_equal(mine[key], value), key
    for key in ("precision", "recall", "scores"):
        assert np.array_equal(ours.eval[key], theirs.eval[key])


def test_a_detection_takes_the_object_of_the_highest_iou_and_leaves_the_other():
    truth = coco([(1, 1, (0, 0, 100, 100)), (1, 1, (4, 0, 100, 100))])
    with quiet():
        detections = coco_object(truth, result_annotations([found(1, 1, (3, 0, 100, 100), 0.9)]))
    everything = evaluated(SparseEvaluation, truth, detections).evalImgs[0]
    assert everything["dtMatches"].tolist() == [[2.0]] * 10
    assert everything["gtMatches"].tolist() == [[0.0, 1.0]] * 10


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_every_image_class_and_size_is_as_cocoeval_has_it(seed):
    truth, detections = heap(seed)
    assert_equal(evaluated(SparseEvaluation, truth, detections), evaluated(COCOeval, truth, detections))


@pytest.mark.parametrize(
    "params",
    [
        {"imgIds": [3, 1]},
        {"catIds": [9, 5]},
        {"maxDets": [3, 1]},
        {"iouThrs": np.array([0.1])},
        {"iouThrs": np.array([1.0])},
        {"iouThrs": np.array([1.0, 0.5])},
        {"areaRng": [[0, 900], [900, 1e10]], "areaRngLbl": ["small", "all"]},
    ],
    ids=lambda params: next(iter(params)),
)
@pytest.mark.parametrize("seed", range(5))
def test_parameters_are_read_as_cocoeval_reads_them(params, seed):
    truth, detections = heap(seed)
    assert_equal(
        evaluated(SparseEvaluation, truth, detections, **params), evaluated(COCOeval, truth, detections, **params)
    )


def test_pairs_with_boxes_are_counted(monkeypatch):
    truth = coco([(1, 1, (0, 0, 9, 9)), (2, 2, (0, 0, 9, 9))], images=(1, 2, 3), categories=(1, 2))
    with quiet():
        detections = coco_object(
            truth, result_annotations([found(1, 1, (0, 0, 9, 9), 1), found(3, 1, (0, 0, 9, 9), 1)])
        )
    monkeypatch.setattr(sparse_evaluation, "SHOWN_EVERY", 2)
    seen = []
    with quiet():
        SparseEvaluation(truth, detections, "bbox").evaluate(lambda *counts: seen.append(counts))
    assert seen == [(2, 3)]


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_afterwards_as_before(before):
    was = gc.isenabled()
    try:
        gc.enable() if before else gc.disable()
        with pytest.raises(KeyError), without_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == before
    finally:
        gc.enable() if was else gc.disable()
