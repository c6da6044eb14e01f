import numpy as np

from swin_yolo.scoring.accumulation import RECALLS, hits_needed, sums_before, valid_mean


def test_the_hits_needed_for_a_recall_are_those_that_a_search_in_the_quotients_finds():
    for objects in range(1, 2000):
        searched = np.searchsorted(np.arange(objects + 1) / objects, RECALLS)
        assert hits_needed(np.array([objects])).tolist() == [np.maximum(searched, 1).tolist()]


def test_rounding_takes_one_hit_more_or_none_as_in_cocoeval():
    assert RECALLS[14] * 50 > 7 and RECALLS[70] > 35 / 50
    assert hits_needed(np.array([50]))[0, [14, 70]].tolist() == [7, 36]


def test_sums_before_each_place_and_of_all():
    assert sums_before(np.array([3, 0, 2])).tolist() == [0, 3, 3, 5]
    assert sums_before(np.zeros(0, int)).tolist() == [0]


def test_the_mean_leaves_out_what_has_no_ground_truth():
    assert valid_mean(np.array([-1, 0.5, 0])) == 0.25
    assert valid_mean(np.array([-1.0, -1.0])) == valid_mean(np.zeros(0)) == -1
