import json
from pathlib import Path

import numpy as np
import pytest
from coco_sets import coco, found, random_set
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swin_yolo.data.coco import CocoIndex
from swin_yolo.errors import InputError
from swin_yolo.scoring import sparse_evaluation
from swin_yolo.scoring.average_precision import METRIC_NAMES, load_predictions, score_detections

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_eval_ref"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the COCO reference evaluation is not here")
light = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def reindexed(truth: COCO, **lists) -> COCO:
    copy = COCO()
    copy.dataset = {**truth.dataset, **lists}
    copy.createIndex()
    return copy


def stock_evaluation(truth: COCO, detections: list[dict]) -> COCOeval:
    evaluation = COCOeval(truth, truth.loadRes([dict(d) for d in detections]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


# Known answers


@needs_reference
def test_reference_evaluation_gives_exactly_the_published_numbers():
    truth = CocoIndex.from_json(REFERENCE / "instances_val2014_100.json", REFERENCE).to_coco()
    results = load_predictions(REFERENCE / "instances_val2014_fakebbox100_results.json", truth)
    score = score_detections(truth, results)
    expected = json.loads((REFERENCE / "expected.json").read_text())
    assert list(score.metrics) == list(METRIC_NAMES)
    assert list(score.metrics.values()) == expected["pycocotools_2.0.11"]
    assert [round(value, 3) for value in score.metrics.values()] == expected["published_3dp"]


def test_one_of_two_objects_found_gives_precision_1_up_to_recall_one_half():
    truth = coco([(1, 1, (0, 0, 50, 50)), (1, 1, (100, 0, 50, 50))])
    score = score_detections(truth, [found(1, 1, (0, 0, 50, 50), 0.9), found(1, 1, (300, 300, 50, 50), 0.8)])
    assert score.metrics["AP"] == pytest.approx(51 / 101)
    assert score.metrics["AR100"] == 0.5
    assert score.metrics["AR1"] == 0.5
    assert score.metrics["APm"] == pytest.approx(51 / 101)  # 2500 px lie between 32^2 and 96^2
    assert score.metrics["APs"] == score.metrics["APl"] == -1
    assert score.precision.shape == score.scores.shape == (1, 101)
    assert score.precision[0, :51].tolist() == pytest.approx([1.0] * 51)
    assert score.precision[0, 51:].tolist() == [0.0] * 50
    assert score.scores[0, 50] == 0.9
    assert score.per_class["class 1"]["boxes"] == 2


def test_annotation_area_and_not_box_area_decides_the_size():
    truth = coco([(1, 1, (0, 0, 50, 50))])
    truth.dataset["annotations"][0]["area"] = 900
    score = score_detections(truth, [found(1, 1, (0, 0, 50, 50), 0.9)])
    assert (score.metrics["APs"], score.metrics["APm"]) == (pytest.approx(1), -1)


@given(seeds)
@light
def test_equals_stock_pycocotools_with_crowds_ties_and_id_gaps(seed):
    truth, detections = random_set(seed)
    score = score_detections(truth, detections)
    if not detections:
        return
    stock = stock_evaluation(truth, detections)
    assert list(score.metrics.values()) == stock.stats.tolist()
    assert np.array_equal(score.precision, stock.eval["precision"][0, :, :, 0, 2].T)
    assert list(score.category_ids) == stock.params.catIds
    assert np.mean([v["AP"] for v in score.per_class.values() if v["AP"] > -1] or -1) == pytest.approx(stock.stats[0])


# Edges


def test_no_detections_score_0_and_no_ground_truth_scores_minus_1():
    truth = coco([(1, 7, (0, 0, 20, 20))], categories=(7, 9))
    score = score_detections(truth, [])
    assert score.metrics["AP"] == score.metrics["APs"] == score.metrics["AR100"] == 0
    assert score.metrics["APl"] == -1
    assert (score.per_class["class 7"]["AP"], score.per_class["class 9"]["AP"]) == (0, -1)
    assert set(score_detections(coco([]), []).metrics.values()) == {-1}
    assert set(score_detections(coco([]), [found(1, 1, (0, 0, 9, 9), 1.0)]).metrics.values()) == {-1}


@given(seeds, st.integers(0, 1))
@light
def test_perfect_detections_score_1_even_where_annotation_ids_start_at_0(seed, first_id):
    truth, _ = random_set(seed, crowds=False)
    for number, annotation in enumerate(truth.dataset["annotations"], start=first_id):
        annotation["id"] = number
    truth.createIndex()
    objects = truth.dataset["annotations"]
    score = score_detections(truth, [found(a["image_id"], a["category_id"], a["bbox"], 0.5) for a in objects])
    assert {round(v, 12) for k, v in score.metrics.items() if k.startswith("AP") and v != -1} == {1.0}
    assert score.metrics["AR100"] == 1


def test_detections_below_rank_100_of_an_image_are_ignored():
    truth = coco([(1, 1, (0, 0, 50, 50))])
    false = [found(1, 1, (300, 300, 50, 50), 0.9)] * 99
    last = found(1, 1, (0, 0, 50, 50), 0.1)
    assert score_detections(truth, [*false, last]).metrics["AR100"] == 1
    assert score_detections(truth, [*false, false[0], last]).metrics["AR100"] == 0


def test_only_the_asked_images_count():
    truth = coco([(1, 1, (0, 0, 50, 50)), (2, 1, (0, 0, 50, 50))], images=(1, 2))
    detections = [found(1, 1, (0, 0, 50, 50), 0.9)]
    assert score_detections(truth, detections).metrics["AR100"] == 0.5
    score = score_detections(truth, detections, image_ids=[1])
    assert score.metrics["AR100"] == 1
    assert score.per_class["class 1"]["boxes"] == 1


def test_missing_area_and_iscrowd_are_width_times_height_and_0():
    truth = coco([(1, 1, (0, 0, 20, 20))])
    for annotation in truth.dataset["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    assert score_detections(truth, [found(1, 1, (0, 0, 20, 20), 0.9)]).metrics["APs"] == pytest.approx(1)


def test_arguments_stay_as_they_were_and_nothing_is_printed(capsys):
    truth, detections = random_set(3)
    before = json.dumps([truth.dataset, detections])
    capsys.readouterr()
    score_detections(truth, detections)
    assert json.dumps([truth.dataset, detections]) == before
    assert capsys.readouterr().out == ""


def test_progress_counts_up_to_the_images_and_classes_with_boxes(monkeypatch):
    truth, seen = coco([(1, 1, (0, 0, 9, 9)), (2, 1, (0, 0, 9, 9))], images=(1, 2)), []
    whole = score_detections(truth, [GOOD])
    assert score_detections(truth, [GOOD], progress=lambda *counts: seen.append(counts)).metrics == whole.metrics
    assert seen == []  # a small set
    monkeypatch.setattr(sparse_evaluation, "SHOWN_EVERY", 1)
    score_detections(truth, [GOOD], progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_two_categories_of_one_name_keep_a_row_each():
    truth = coco([(1, 1, (0, 0, 50, 50)), (1, 2, (0, 0, 50, 50))], categories=(1, 2))
    for category in truth.dataset["categories"]:
        category["name"] = "cell"
    assert score_detections(truth, []).names == ("cell", "cell (2)")


def test_detection_of_an_unknown_image_is_an_input_error():
    with pytest.raises(InputError, match="detection 1 has image_id 5"):
        score_detections(coco([]), [found(1, 1, (0, 0, 9, 9), 1.0), found(5, 1, (0, 0, 9, 9), 1.0)])


# Invariants


@given(seeds)
@light
def test_order_of_images_annotations_and_categories_does_not_matter(seed):
    truth, detections = random_set(seed)
    rng = np.random.default_rng(seed)
    shuffled = reindexed(truth, **{key: rng.permutation(value).tolist() for key, value in truth.dataset.items()})
    assert score_detections(shuffled, detections).metrics == score_detections(truth, detections).metrics


@given(seeds)
@light
def test_new_category_and_image_ids_do_not_matter(seed):
    truth, detections = random_set(
        seed, tied=False
    )  # of tied scores in different images, the lower image id goes first
    rng = np.random.default_rng(seed)
    new_image = dict(zip(truth.imgs, rng.permutation(50).tolist(), strict=False))
    new_category = dict(zip(truth.cats, rng.permutation(50).tolist(), strict=False))

    def moved(entry):
        return {**entry, "image_id": new_image[entry["image_id"]], "category_id": new_category[entry["category_id"]]}

    renamed = reindexed(
        truth,
        images=[{**image, "id": new_image[image["id"]]} for image in truth.dataset["images"]],
        categories=[{**category, "id": new_category[category["id"]]} for category in truth.dataset["categories"]],
        annotations=[moved(annotation) for annotation in truth.dataset["annotations"]],
    )
    old, new = score_detections(truth, detections), score_detections(renamed, [moved(d) for d in detections])
    assert new.per_class == old.per_class
    assert new.metrics == pytest.approx(old.metrics, abs=1e-12)


@given(seeds, st.integers(1, 5))
@light
def test_detections_inside_a_crowd_of_their_class_change_nothing(seed, count):
    truth, detections = random_set(seed)
    image_id, category_id = next(iter(truth.imgs)), next(iter(truth.cats))
    rows = [(a["image_id"], a["category_id"], a["bbox"], a["iscrowd"]) for a in truth.dataset["annotations"]]
    rows.append((image_id, category_id, (1000, 1000, 500, 500), True))
    crowded = coco(rows, images=truth.imgs, categories=truth.cats)
    inside = [found(image_id, category_id, (1000 + 90 * i, 1100, 80, 80), 0.99) for i in range(count)]
    before, alone = score_detections(truth, detections), score_detections(crowded, detections)
    after = score_detections(crowded, [*inside, *detections])
    assert alone.per_class == before.per_class
    assert after.per_class == before.per_class  # AR1 and AR10 may change: crowd boxes take their places
    false = score_detections(truth, [*inside, *detections])
    assert false.metrics["AP"] <= before.metrics["AP"]


@given(seeds)
@light
def test_a_crowd_over_everything_helps_no_other_class_and_hurts_none(seed):
    truth, detections = random_set(seed)
    image_id, category_id = next(iter(truth.imgs)), next(iter(truth.cats))
    rows = [(a["image_id"], a["category_id"], a["bbox"], a["iscrowd"]) for a in truth.dataset["annotations"]]
    crowded = coco([*rows, (image_id, category_id, (0, 0, 640, 480), True)], images=truth.imgs, categories=truth.cats)
    before, after = score_detections(truth, detections), score_detections(crowded, detections)
    own = f"class {category_id}"
    assert {k: v for k, v in after.per_class.items() if k != own} == {
        k: v for k, v in before.per_class.items() if k != own
    }
    assert after.per_class[own]["AP"] >= before.per_class[own]["AP"] - 1e-12


# Result files

GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
BAD_FILES = {
    "not JSON": ("[{", "is not JSON"),
    "an annotation file": ('{"images": [], "annotations": []}', r"expected a list.*keys \['annotations', 'images'\]"),
    "a number": ("3", "expected a list of detections"),
    "no object": (json.dumps([GOOD, 7]), "entry 1 is 7"),
    "missing keys": (
        json.dumps([GOOD, {"image_id": 1, "bbox": [0, 0, 1, 1]}]),
        "entry 1 has no category_id and no score",
    ),
    "unknown image": (json.dumps([{**GOOD, "image_id": 4}]), "entry 0 has image_id 4"),
    "listed image": (json.dumps([{**GOOD, "image_id": [1]}]), r"entry 0 has image_id \[1\]"),
    "true as an id": (json.dumps([{**GOOD, "image_id": True}]), "entry 0 has image_id True"),
    "unknown category": (json.dumps([{**GOOD, "category_id": 0}]), "entry 0 has category_id 0.*they have 1"),
    "NaN score": (json.dumps([GOOD, GOOD, {**GOOD, "score": float("nan")}]), "entry 2 has score nan"),
    "text score": (json.dumps([{**GOOD, "score": "0.5"}]), "entry 0 has score '0.5'"),
    "three numbers": (json.dumps([{**GOOD, "bbox": [1, 2, 3]}]), r"entry 0 has bbox \[1, 2, 3\]"),
    "infinite box": (json.dumps([{**GOOD, "bbox": [1, 2, 3, float("inf")]}]), "4 finite numbers"),
    "huge box": (json.dumps([{**GOOD, "bbox": [1, 2, 3, 10**400]}]), "4 finite numbers"),
    "negative width": (json.dumps([{**GOOD, "bbox": [1, 2, -3, 4]}]), "width >= 0"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_results_file_is_one_line_with_file_and_entry(tmp_path, content, message):
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        load_predictions(file, coco([]))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_absent_results_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        load_predictions(tmp_path / "none.json", coco([]))
