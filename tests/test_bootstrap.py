from dataclasses import asdict

import numpy as np
import pytest
from coco_sets import coco, found, random_set, with_copies

from swin_yolo.scoring.average_precision import METRIC_NAMES, score_detections
from swin_yolo.scoring.bootstrap import Interval, paired_bootstrap
from swin_yolo.scoring.matches import match

BOX = (0, 0, 50, 50)


class Run:
    """Stands in for `Matches`: all numbers are `score(copies)`."""

    def __init__(self, score, images=1):
        self.image_ids, self.names, self.score = np.arange(images), ("cell",), score

    def metrics(self, copies=None):
        return np.full(13, self.score(np.ones(len(self.image_ids), int) if copies is None else copies))

    def images_with_objects(self):
        return np.full(13, 1000)


class SlowRun:
    """Stands in for `Matches`: scores a data set that holds the copies."""

    def __init__(self, truth, detections):
        self.image_ids, self.truth, self.detections = np.array(sorted(truth.imgs)), truth, detections
        self.names = score_detections(truth, []).names

    def metrics(self, copies=None):
        copies = [1] * len(self.image_ids) if copies is None else copies
        score = score_detections(*with_copies(self.truth, self.detections, copies))
        return np.array([*score.metrics.values(), *(row["AP"] for row in score.per_class.values())])

    def images_with_objects(self):
        """By what there is to score on each image alone."""
        alone = [self.metrics(np.eye(len(self.image_ids), dtype=int)[i]) for i in range(len(self.image_ids))]
        return np.sum(np.array(alone) > -1, axis=0)


def constant(value):
    return Run(lambda copies: value)


def varied_run(image_effects, seed_effect):
    return Run(lambda copies: seed_effect + copies @ image_effects / len(copies), len(image_effects))


def bounds(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


# Known answers


def test_two_images_of_which_one_is_found_give_the_three_resamples_that_there_are():
    truth = coco([(1, 1, BOX), (2, 1, BOX)], images=(1, 2))
    nothing, one = match(truth, []), match(truth, [found(1, 1, BOX, 0.9)])
    # the image that is found comes not at all, once or twice in 1/4, 1/2 and 1/4 of the resamples
    for confidence, expected in ((0.95, (0, 1)), (0.4, (51 / 101, 51 / 101))):
        difference = paired_bootstrap([nothing], {"new": [one]}, confidence=confidence, least_images=1)["new"]
        assert difference.metrics["AP"].mean == difference.per_class["class 1"].mean == pytest.approx(51 / 101)
        assert bounds(difference.metrics["AP"]) == bounds(difference.per_class["class 1"]) == pytest.approx(expected)


def test_of_three_runs_two_are_drawn():
    new = [constant(0), constant(0), constant(0.9)]
    # of two drawn runs both are the good one in 1/9 of the resamples, and one of them is in 4/9
    for confidence, expected in ((0.95, (0, 0.9)), (0.7, (0, 0.45))):
        difference = paired_bootstrap([constant(0)], {"new": new}, confidence=confidence)["new"]
        assert difference.metrics["AP"].mean == pytest.approx(0.3)
        assert bounds(difference.metrics["AP"]) == pytest.approx(expected)


def test_runs_of_both_models_are_drawn_apart():
    runs = [constant(0), constant(0.5)]
    assert bounds(paired_bootstrap(runs, {"new": runs})["new"].metrics["AP"]) == (-0.5, 0.5)


def test_images_of_both_models_are_drawn_together():
    def hard(copies):
        return float(copies @ np.linspace(0, 0.01, len(copies)))

    old, new = Run(hard, images=40), Run(lambda copies: hard(copies) + 0.125, images=40)
    difference = paired_bootstrap([old], {"new": [new]})["new"].metrics["AP"]
    assert asdict(difference) == pytest.approx({"mean": 0.125, "low": 0.125, "high": 0.125})


def test_a_run_against_itself_differs_by_nothing():
    truth, detections = random_set(3)
    run = match(truth, detections)
    metrics = paired_bootstrap([run], {"same": [run]}, resamples=50, least_images=1)["same"].metrics
    assert {bounds(interval) for name, interval in metrics.items() if interval.mean is not None} == {(0, 0)}


# Parity


@pytest.mark.parametrize(("seed", "least_images"), [(1, 1), (5, 1), (9, 1), (5, 3), (9, 4)])
def test_intervals_are_those_of_a_plain_slow_bootstrap(seed, least_images):
    truth, detections = random_set(seed)
    rng = np.random.default_rng(seed)
    sets = [[{**d, "score": round(float(rng.random()), 1)} for d in detections] for _ in range(4)]
    (a, b, c, d), (slow_a, slow_b, slow_c, slow_d) = ([kind(truth, s) for s in sets] for kind in (match, SlowRun))
    arguments = {"resamples": 40, "seed": seed, "least_images": least_images}
    quick = paired_bootstrap([a, b], {"new": [c, d]}, **arguments)["new"]
    slow = paired_bootstrap([slow_a, slow_b], {"new": [slow_c, slow_d]}, **arguments)["new"]
    assert list(quick.metrics) == list(METRIC_NAMES)
    for kind in ("metrics", "per_class"):
        assert asdict(quick)[kind].keys() == asdict(slow)[kind].keys()
        for name, interval in asdict(slow)[kind].items():
            numbers = [np.array(list(one.values()), float) for one in (asdict(quick)[kind][name], interval)]
            assert numbers[0] == pytest.approx(numbers[1], rel=0, abs=1e-12, nan_ok=True)
    assert quick.metrics["AP"].low < quick.metrics["AP"].high
    assert (least_images == 1) == (None not in [i.low for i in quick.metrics.values() if i.mean is not None])


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    images, held, trials = 60, 0, 250
    for trial in range(trials):
        rng = np.random.default_rng(trial)

        # the spread of a mean over three runs is that of a mean over all images
        effects = np.zeros(images), rng.normal(0, 0.01 * np.sqrt(2 * images / 3), images)
        models = [[varied_run(effect, 0.01 * rng.normal()) for _ in range(3)] for effect in effects]
        interval = paired_bootstrap(models[0], {"new": models[1]}, resamples=150)["new"].metrics["AP"]
        held += interval.low <= 0 <= interval.high
    assert 0.88 < held / trials < 0.98  # with images drawn only it is 0.8


# Invariants


def test_the_seed_decides_and_other_candidates_do_not_matter():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 20))
    old, new, other = ([Run(lambda copies, v=v: copies @ v, 20) for v in values[i : i + 2]] for i in (0, 2, 4))
    alone = paired_bootstrap(old, {"new": new}, resamples=200)
    among = paired_bootstrap(old, {"other": other, "new": new}, resamples=200)
    assert list(among) == ["other", "new"]
    assert among["new"] == alone["new"] == paired_bootstrap(old, {"new": new}, resamples=200)["new"]
    for runs in (1, 2):  # with one, the images alone are drawn
        by_seed = [paired_bootstrap(old[:runs], {"new": new[:runs]}, seed=seed, resamples=50) for seed in (0, 1)]
        assert by_seed[0] != by_seed[1]


def test_a_class_missing_in_some_resamples_is_left_out_there_and_one_missing_everywhere_has_no_numbers():
    truth = coco([(1, 1, BOX), (2, 2, BOX)], images=(1, 2), categories=(1, 2, 3))
    old, new = match(truth, []), match(truth, [found(1, 1, BOX, 0.9)])
    difference = paired_bootstrap([old], {"new": [new]}, least_images=1)["new"]
    assert asdict(difference.per_class["class 1"]) == pytest.approx({"mean": 1, "low": 1, "high": 1})
    assert asdict(difference.per_class["class 2"]) == {"mean": 0, "low": 0, "high": 0}
    nothing = {"mean": None, "low": None, "high": None}
    assert asdict(difference.per_class["class 3"]) == asdict(difference.metrics["APl"]) == nothing


def test_five_images_of_one_mind_are_too_few_for_an_interval():
    boxes = [(image, 1 + image % 2, BOX) for image in range(1, 12)]  # six images of class 2, five of class 1
    truth = coco(boxes, images=range(1, 13), categories=(1, 2))
    old, new = match(truth, []), match(truth, [found(image, number, box, 0.9) for image, number, box in boxes])
    difference = paired_bootstrap([old], {"new": [new]})["new"]
    assert asdict(difference.per_class["class 1"]) == {"mean": 1, "low": None, "high": None}
    assert asdict(difference.per_class["class 2"]) == pytest.approx({"mean": 1, "low": 1, "high": 1})
    assert bounds(difference.metrics["APm"]) == pytest.approx((1, 1))
    assert bounds(difference.metrics["APs"]) == (None, None)


def test_progress_counts_the_resamples_of_all_models():
    reports = []
    models = {"a": [constant(1)], "b": [constant(2)]}
    paired_bootstrap([constant(0)], models, resamples=5, progress=lambda *report: reports.append(report))
    assert reports == [(done, 15) for done in range(1, 16)]


# Errors


@pytest.mark.parametrize(
    ("baseline", "candidate", "options", "message"),
    [
        ([], [constant(0)], {}, "at least one run"),
        ([constant(0)], [], {}, "at least one run"),
        ([constant(0)], [Run(lambda copies: 0, images=2)], {}, "same images and classes"),
        ([Run(lambda copies: 0, images=0)], [Run(lambda copies: 0, images=0)], {}, "at least one image"),
        ([constant(0)], [constant(0)], {"resamples": 0}, "resamples >= 1 and 0 < confidence < 1, got 0 and 0.95"),
        ([constant(0)], [constant(0)], {"confidence": 1}, "got 1000 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(baseline, candidate, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(baseline, {"new": candidate}, **options)


def test_runs_of_other_classes_are_refused():
    other = constant(0)
    other.names = ("blood",)
    with pytest.raises(ValueError, match="same images and classes"):
        paired_bootstrap([constant(0)], {"new": [other]})
