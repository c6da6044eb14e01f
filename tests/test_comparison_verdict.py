import pytest

from swin_yolo.comparison.results import ModelResult, RunResult, over_seeds
from swin_yolo.comparison.scores import Scored
from swin_yolo.comparison.verdict import amount, caveats, caveats_of_all, headline, word
from swin_yolo.scoring.bootstrap import Difference, Interval

BETTER, WORSE, UNCLEAR = Interval(0.012, 0.003, 0.021), Interval(-0.012, -0.021, -0.003), Interval(0.004, -0.006, 0.013)
NOTHING = Interval(None, None, None)


def model(name, role="candidate", *, parameters=1000, runs=3) -> ModelResult:
    scored = Scored(None, "", {"params": parameters} if parameters else {}, {}, None)
    return ModelResult(name, role, [RunResult(scored, seed) for seed in range(runs)])


def said(ap, *, control=None) -> str:
    against = control and (model("vanilla-w0.3", "control"), Difference({"AP": control}, {}))
    return headline(model("swin"), model("vanilla", "baseline"), Difference({"AP": ap}, {}), control=against)


# A word


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (BETTER, "better"),
        (WORSE, "worse"),
        (UNCLEAR, "cannot tell"),
        (Interval(0.1, 0.0, 0.2), "cannot tell"),
        (Interval(-0.1, -0.2, 0.0), "cannot tell"),
        (Interval(0.0, 0.0, 0.0), "cannot tell"),
        (NOTHING, "cannot tell"),
    ],
)
def test_only_an_interval_that_leaves_0_out_says_anything(interval, expected):
    assert word(interval) == expected


# Sentences


def test_a_difference_is_said_with_its_interval():
    assert said(BETTER) == "swin is better than vanilla: +0.012 AP (95% interval +0.003 to +0.021)."
    assert said(WORSE) == "swin is worse than vanilla: -0.012 AP (95% interval -0.021 to -0.003)."
    assert (
        said(UNCLEAR)
        == "Whether swin is better than vanilla cannot be told: +0.004 AP (95% interval -0.006 to +0.013)."
    )
    assert said(NOTHING) == "Whether swin is better than vanilla cannot be told: no ground truth to compare on."
    few = "Whether swin is better than vanilla cannot be told: +0.012 AP, and ground truth on fewer than 6 images."
    assert said(Interval(0.012, None, None)) == few
    assert amount(BETTER, 0.9).endswith("(90% interval +0.003 to +0.021)")


WIDENED = "vanilla-w0.3, vanilla widened to its size"


@pytest.mark.parametrize(
    ("ap", "control", "expected"),
    [
        (BETTER, BETTER, f"It is also better than {WIDENED}: +0.012 AP"),
        (BETTER, WORSE, f"But it is worse than {WIDENED}: -0.012 AP"),
        (BETTER, UNCLEAR, f"Against {WIDENED}, it cannot be told: +0.004 AP"),
        (UNCLEAR, BETTER, f"It is better than {WIDENED}: +0.012 AP"),
        (UNCLEAR, UNCLEAR, f"Against {WIDENED}, it cannot be told either: +0.004 AP"),
        (WORSE, WORSE, f"It is also worse than {WIDENED}: -0.012 AP"),
        (WORSE, BETTER, f"But it is better than {WIDENED}: +0.012 AP"),
        (WORSE, UNCLEAR, f"Against {WIDENED}, it cannot be told: +0.004 AP"),
    ],
)
def test_a_control_says_whether_it_is_more_than_size(ap, control, expected):
    first, second = said(ap, control=control).split("). ")
    assert first + ")." == said(ap) and second.startswith(expected)
    assert second.endswith("; the gain may come from size alone.") == (ap is BETTER and control is UNCLEAR)


BASELINE = model("vanilla", "baseline")


def test_a_bigger_model_without_a_control_is_said_to_be_bigger():
    (bigger,) = caveats(model("swin", parameters=1470), BASELINE, controlled=False)
    assert bigger == "swin has 1.47 times the parameters, and no control of its size was trained."
    assert caveats(model("swin", parameters=1470), BASELINE, controlled=True) == []
    for other in (
        model("swin", parameters=1040),
        model("onnx", parameters=None),
        model("w", "control", parameters=1470),
    ):
        assert caveats(other, BASELINE, controlled=False) == []


def test_one_run_is_said_to_be_one():
    one = "With one run of swin this speaks of these weights, not of other seeds."
    assert caveats(model("swin", runs=1), BASELINE, controlled=False) == [one]


def test_what_limits_all_verdicts_is_said():
    fairness = [{"what": "epochs", "same": False}, {"what": "recipe", "same": True}, {"what": "head", "same": None}]
    assert caveats_of_all(fairness[1:], images=20, resamples=1000) == []
    unfair, few, rough = caveats_of_all([*fairness, {"what": "batch", "same": False}], images=19, resamples=999)
    assert unfair == "It is not a comparison of like with like: the models differ in epochs, batch."
    assert few == "19 images are few: the interval may well be too narrow."
    assert rough == "999 resamples place the ends of an interval roughly; take 1000 or more."


# Over seeds


def test_a_number_over_seeds_has_its_mean_and_standard_deviation():
    assert over_seeds([0.1, 0.2, 0.3]) == {
        "mean": pytest.approx(0.2),
        "spread": pytest.approx(0.1),
        "values": [0.1, 0.2, 0.3],
    }
    assert over_seeds([0.5]) == {"mean": 0.5, "spread": None, "values": [0.5]}


def test_a_number_without_ground_truth_has_none_over_seeds():
    assert over_seeds([-1, -1]) == {"mean": -1, "spread": None, "values": [-1, -1]}
