import csv
import re

import pytest
from comparisons import comparison

from swin_yolo.report.comparison_table import comparison_csv, comparison_lines, comparison_markdown
from swin_yolo.scoring.average_precision import METRIC_NAMES


@pytest.fixture
def compared():
    return comparison()


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table of a Markdown text."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
            found.append([[cell.strip() for cell in row] for row in rows])
    return found


# Markdown


def test_the_verdict_is_at_the_top_and_all_twelve_numbers_follow(compared):
    compared["caveats"] = ["It is not a comparison of like with like: the models differ in epochs."]
    text = comparison_markdown(compared)
    assert text.startswith(f"# {compared['title']}\n\n{compared['verdict']} {compared['caveats'][0]}\n\n")
    scores = tables(text)[0]
    assert scores[0] == ["Model", *METRIC_NAMES]
    for row, model in zip(scores[2:], compared["models"], strict=True):
        assert row[0].startswith(model["name"].replace("_", r"\_"))
        for cell, name in zip(row[1:], METRIC_NAMES, strict=True):
            number = model["metrics"][name]
            assert cell == f"{number['mean']:.3f} ± {number['spread']:.3f}"


def test_differences_have_their_intervals_and_controls_their_own_rows(compared):
    ap = {"mean": 0.01, "low": -0.02, "high": 0.04}
    compared["models"][1]["against_control"] = {"name": "yolov5n-wide", "metrics": dict.fromkeys(METRIC_NAMES, ap)}
    rows = tables(comparison_markdown(compared))[1][2:]
    assert [row[0] for row in rows] == ["yolov5n-swin", "yolov5n-wide (control)", "yolov5n-swin minus yolov5n-wide"]
    assert rows[2][1] == "+0.010<br>-0.020 to +0.040"
    compared["models"][1]["difference"]["metrics"]["APs"] = {"mean": None, "low": None, "high": None}
    assert tables(comparison_markdown(compared))[1][2][4] == "-"


def test_every_table_has_as_many_cells_in_each_row(compared):
    compared["data"]["names"] = ["a|b", "*c*", "<d>"]
    for model in compared["models"]:
        model["per_class"] = dict(zip(compared["data"]["names"], model["per_class"].values(), strict=True))
        found = model["difference"]
        if found:
            found["per_class"] = dict(zip(compared["data"]["names"], found["per_class"].values(), strict=True))
    found = tables(comparison_markdown(compared))
    assert len(found) == 5
    for table in found:
        assert len({len(row) for row in table}) == 1
    assert [row[0] for row in found[2][2:]] == [r"a\|b", r"\*c\*", r"\<d\>"]


def test_what_was_not_the_same_is_seen(compared):
    compared["fairness"] = [
        {"what": what, "same": same, "values": {"yolov5n": "1", "yolov5n-swin": "2"}}
        for what, same in (("x", True), ("y", False), ("z", None))
    ]
    rows = tables(comparison_markdown(compared))[4][2:]
    assert [row[:2] for row in rows] == [["x", "yes"], ["y", "**no**"], ["z", "not checked"]]
    assert all(row[2:] == ["1", "2", "-"] for row in rows)


def test_costs_have_units_and_how_it_was_made_is_said(compared):
    text = comparison_markdown(compared)
    assert tables(text)[3][2][:4] == ["yolov5n (baseline)", "2,509,049", "1.90", "12.1 (11.7 to 12.7)"]
    for said in (*compared["commands"], compared["data"]["sha256"], '"lr0": 0.0015', "torch 2.14.1", "AMD EPYC 7763"):
        assert said in text


@pytest.mark.parametrize("changes", [{"finished": True}, {"models": (("one", "baseline"),)}, {"seeds": (0,)}])
def test_what_is_not_there_is_left_out(changes):
    text = comparison_markdown(comparison(**changes))
    assert "None" not in text and "nan" not in text


def test_a_number_without_ground_truth_is_a_dash(compared):
    compared["models"][0]["metrics"]["APs"] = {"mean": -1, "spread": None, "values": [-1]}
    assert tables(comparison_markdown(compared))[0][2][4] == "-"


# CSV


def test_the_csv_has_a_row_for_each_model_with_full_numbers(compared):
    rows = list(csv.DictReader(comparison_csv(compared).splitlines()))
    assert [row["name"] for row in rows] == [model["name"] for model in compared["models"]]
    for row, model in zip(rows, compared["models"], strict=True):
        for name in METRIC_NAMES:
            assert float(row[name]) == model["metrics"][name]["mean"]
            assert float(row[f"{name} spread"]) == model["metrics"][name]["spread"]
        assert float(row["class RBC AP"]) == model["per_class"]["RBC"]["AP"]["mean"]
        assert int(row["parameters"]) == model["parameters"] and int(row["runs"]) == 3
        assert float(row["latency_ms median"]) == model["latency_ms"]["median"]
    assert rows[0]["AP difference"] == rows[0]["verdict"] == ""
    ap = compared["models"][1]["difference"]["metrics"]["AP"]
    assert [float(rows[1][f"AP {key}"]) for key in ("difference", "low", "high")] == [ap["mean"], ap["low"], ap["high"]]
    assert rows[1]["verdict"] == compared["models"][1]["verdict"]["word"]


def test_a_class_called_low_has_columns_of_its_own(compared):
    compared["data"]["names"] = ["low", "spread", "difference"]
    for model in compared["models"]:
        model["per_class"] = dict(zip(compared["data"]["names"], model["per_class"].values(), strict=True))
        if found := model["difference"]:
            found["per_class"] = dict(zip(compared["data"]["names"], found["per_class"].values(), strict=True))
    baseline, first, *_ = csv.DictReader(comparison_csv(compared).splitlines())
    expected = compared["models"][1]
    assert float(first["class low AP"]) == expected["per_class"]["low"]["AP"]["mean"]
    assert float(first["AP low"]) == expected["difference"]["metrics"]["AP"]["low"] and baseline["AP low"] == ""


def test_a_difference_of_minus_1_is_a_number(compared):
    compared["models"][1]["difference"]["metrics"]["AP"]["mean"] = -1.0
    assert list(csv.DictReader(comparison_csv(compared).splitlines()))[1]["AP difference"] == "-1.0"


def test_what_the_csv_has_no_number_for_is_empty():
    compared = comparison(finished=True)
    compared["models"][0]["metrics"]["APs"] = {"mean": -1, "spread": None, "values": [-1]}
    first, *_, last = csv.DictReader(comparison_csv(compared).splitlines())
    assert first["APs"] == first["APs spread"] == last["parameters"] == last["peak_memory_mb"] == ""


# Lines


def test_the_lines_say_the_verdict_its_limits_and_what_each_model_is(compared):
    compared["caveats"] = ["6 images are few: the interval may well be too narrow."]
    verdict, limit, empty, *models = comparison_lines(compared)
    assert (verdict, limit, empty) == (compared["verdict"], compared["caveats"][0], "")
    ap = compared["models"][0]["metrics"]["AP"]
    number = f"AP {ap['mean']:.3f} ± {ap['spread']:.3f}"
    assert models[0] == f"yolov5n       baseline   {number}, 2,509,049 parameters, 1.90 GFLOPs, 12.1 ms"
    assert len(models) == 3 and "None" not in "".join(comparison_lines(comparison(finished=True)))
