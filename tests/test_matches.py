import json

import numpy as np
import pytest
from coco_sets import coco, found, random_set, with_copies
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_yolo.errors import InputError
from swin_yolo.scoring.average_precision import METRIC_NAMES, score_detections
from swin_yolo.scoring.matches import match

light = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)
BOX = (0, 0, 50, 50)


def scored(truth, detections) -> np.ndarray:
    """The numbers of `Matches.metrics`, by COCOeval."""
    score = score_detections(truth, detections)
    return np.array([*score.metrics.values(), *(row["AP"] for row in score.per_class.values())])


def test_an_image_counts_as_often_as_it_is_copied():
    truth = coco([(1, 1, BOX), (2, 1, BOX)], images=(1, 2))
    matches = match(truth, [found(1, 1, BOX, 0.9)])
    average = {copies: matches.metrics(np.array(copies))[0] for copies in ((1, 1), (3, 1), (2, 0), (0, 2))}
    assert average == pytest.approx({(1, 1): 51 / 101, (3, 1): 76 / 101, (2, 0): 1, (0, 2): 0})


def test_equal_scores_of_a_copied_image_come_as_they_are_once_per_copy():
    truth = coco([(1, 1, BOX)])
    matches = match(truth, [found(1, 1, BOX, 0.5), found(1, 1, (200, 0, 50, 50), 0.5)])
    # right, wrong, right, wrong: 2/3 above a recall of 1/2; right, right, wrong, wrong would give 1
    assert matches.metrics(np.array([2]))[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_class_without_objects_among_the_drawn_images_is_left_out():
    truth = coco([(1, 1, BOX), (2, 2, BOX)], images=(1, 2), categories=(1, 2))
    matches = match(truth, [found(1, 1, BOX, 0.9)])
    assert matches.names == ("class 1", "class 2")
    assert matches.metrics()[[0, 12, 13]] == pytest.approx([0.5, 1, 0])
    assert matches.metrics(np.array([2, 0]))[[0, 12, 13]] == pytest.approx([1, 1, -1])
    assert matches.metrics(np.array([0, 1]))[[0, 12, 13]] == pytest.approx([0, -1, 0])
    assert set(matches.metrics(np.array([0, 0]))) == {-1}


@given(seeds, st.lists(st.integers(0, 4), min_size=4, max_size=4))
@light
def test_copies_count_as_in_a_set_that_has_them_with_crowds_ties_and_empty_images(seed, copies):
    truth, detections = random_set(seed)
    expected = scored(*with_copies(truth, detections, copies))
    assert match(truth, detections).metrics(np.array(copies)) == pytest.approx(expected, rel=0, abs=1e-12)


@given(seeds)
@light
def test_one_of_each_image_is_what_score_detections_says(seed):
    truth, detections = random_set(seed)
    assert match(truth, detections).metrics() == pytest.approx(scored(truth, detections), rel=0, abs=1e-12)


@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 0, 3), (0, 1, 2)])
def test_crowded_images_with_many_ties_and_more_than_100_detections_agree_too(copies):
    rng = np.random.default_rng(5)
    rows = [(int(rng.integers(1, 4)), 1, [*rng.uniform(0, 400, 2), *rng.uniform(8, 120, 2)]) for _ in range(90)]
    detections = []
    for image_id, category_id, box in rows:
        for _ in range(6):
            moved = (np.array(box) + rng.normal(0, 6, 4)).clip(1).tolist()
            detections.append(found(image_id, category_id, moved, round(float(rng.random()), 1)))
    truth = coco(rows, images=(1, 2, 3))
    expected = scored(*with_copies(truth, detections, copies))
    assert match(truth, detections).metrics(np.array(copies)) == pytest.approx(expected, rel=0, abs=1e-12)


# Edges


def test_nothing_found_nothing_there_no_classes_and_no_images():
    truth = coco([(1, 7, BOX)], categories=(7, 9))
    assert match(truth, []).metrics().tolist() == scored(truth, []).tolist()
    false = [found(1, 1, BOX, 0.5)]
    for empty, detections in ((coco([]), false), (coco([]), []), (coco([], categories=()), false)):
        assert set(match(empty, detections).metrics()) == {-1}
    assert set(match(coco([], images=()), []).metrics(np.zeros(0, int))) == {-1}


def test_an_annotation_of_id_0_can_be_matched():
    truth = coco([(1, 1, BOX)])
    truth.dataset["annotations"][0]["id"] = 0
    truth.createIndex()
    assert match(truth, [found(1, 1, BOX, 0.5)]).metrics()[0] == pytest.approx(1)


def test_detections_of_a_class_that_the_data_do_not_have_are_left_out():
    truth = coco([(1, 1, BOX)])
    right = found(1, 1, BOX, 0.5)
    assert match(truth, [found(1, 3, BOX, 0.9), right]).metrics().tolist() == match(truth, [right]).metrics().tolist()


def test_arguments_stay_as_they_were_nothing_is_printed_and_each_class_is_reported(capsys):
    truth, detections = random_set(3)
    before = json.dumps([truth.dataset, detections])
    capsys.readouterr()
    reports = []
    match(truth, iter(detections), progress=lambda *report: reports.append(report))
    assert json.dumps([truth.dataset, detections]) == before
    assert capsys.readouterr().out == ""
    assert reports == [(1, 3), (2, 3), (3, 3)]


def test_the_numbers_are_the_twelve_and_one_for_each_class():
    truth, detections = random_set(3)
    assert len(match(truth, detections).metrics()) == len(METRIC_NAMES) + 3


@pytest.mark.parametrize("copies", [[1], [[1, 1, 1, 1]], [1, 1, 1, -1], [0.5, 1, 1, 1]])
def test_copies_that_are_no_counts_of_the_images_are_refused(copies):
    truth, detections = random_set(3)
    with pytest.raises(ValueError, match="copies must be 4 integers >= 0, got"):
        match(truth, detections).metrics(np.array(copies))


def test_a_detection_of_an_unknown_image_is_an_input_error_with_its_place():
    with pytest.raises(InputError, match="detection 1 has image_id 5"):
        match(coco([(1, 1, BOX)]), [found(1, 1, BOX, 1.0), found(5, 1, BOX, 1.0)])
