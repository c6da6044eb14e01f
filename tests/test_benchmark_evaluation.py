import json

import numpy as np
import pytest
import torch

from swin_yolo.benchmark import evaluation as benchmarked
from swin_yolo.benchmark.drawn_detections import SIZE_WH, DrawnSet
from swin_yolo.benchmark.evaluation import ENTRIES, NMS, OURS, SCORING, THEIRS, EvaluationSettings, detected, evaluation

DRAWN = DrawnSet(images=20, nc=5, boxes=4, found=30, seed=1)


def test_parts_are_summed_and_compared_with_pycocotools_round_by_round(monkeypatch):
    monkeypatch.setattr(benchmarked, "_memory", lambda drawn, detections: {OURS: 2_000_000, THEIRS: 3_000_000})
    table = evaluation(EvaluationSettings(DRAWN, rounds=2))
    assert [row[0] for row in table.rows] == [NMS, ENTRIES, SCORING, OURS, THEIRS]
    seconds = {name: table.figures[name]["seconds"] for name in table.figures}
    for parts in zip(*seconds.values(), strict=True):
        assert parts[3] == pytest.approx(sum(parts[:3])) and min(parts) > 0
    share = np.median([a / b for a, b in zip(seconds[OURS], seconds[THEIRS], strict=True)])
    assert table.figures[OURS]["share"] == pytest.approx(share)
    assert [row[3] for row in table.rows] == ["", "", "", "2", "3"]
    assert "20 drawn images, 5 classes" in table.remarks[0]


def test_another_result_than_that_of_pycocotools_is_an_error(monkeypatch):
    stock = benchmarked._stock
    monkeypatch.setattr(benchmarked, "_stock", lambda truth, found: stock(truth, found[::2]))
    with pytest.raises(RuntimeError, match="expected the AP of pycocotools"):
        evaluation(EvaluationSettings(DRAWN, rounds=1))


def test_memory_is_that_of_processes_of_their_own():
    entries = detected(EvaluationSettings(DRAWN))
    memory = benchmarked._memory(DRAWN, json.dumps(entries))
    assert set(memory) == {OURS, THEIRS} and all(0 <= taken < 1e9 for taken in memory.values())


# The drawn set


def test_a_drawn_set_is_the_same_for_the_same_seed_and_as_large_as_asked():
    truth = DRAWN.truth()
    assert truth.dataset == DrawnSet(images=20, nc=5, boxes=4, found=30, seed=1).truth().dataset
    assert truth.dataset != DrawnSet(images=20, nc=5, boxes=4, found=30, seed=2).truth().dataset
    assert (len(truth.imgs), len(truth.cats)) == (20, 5) and 40 < len(truth.anns) < 120
    boxes = np.array([a["bbox"] for a in truth.anns.values()])
    assert (boxes >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= SIZE_WH).all()


def test_outputs_do_not_depend_on_how_they_are_batched():
    together = DRAWN.outputs(2, 6)
    assert together.shape == (4, 9, 8400)
    assert torch.equal(together[2:], DRAWN.outputs(4, 6))


def test_nms_leaves_about_the_detections_that_were_drawn_in_pixels_of_the_image():
    entries = detected(EvaluationSettings(DRAWN))
    assert 0.8 * 30 * 20 < len(entries) < 1.2 * 30 * 20
    assert {e["image_id"] for e in entries} == set(range(1, 21)) and {e["category_id"] for e in entries} <= set(
        range(1, 6)
    )
    score = benchmarked.score_detections(DRAWN.truth(), entries).metrics
    assert 0.2 < score["AP"] < 0.9 and score["AP50"] > 0.5
