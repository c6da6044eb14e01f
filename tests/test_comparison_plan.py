import json

import pytest
from tiny import make_tiny

from swin_yolo.cli.train import parser
from swin_yolo.comparison.plan import FINISHED, Training, settle
from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.recipe import KEYS
from swin_yolo.errors import InputError
from swin_yolo.files import sha256


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("plan"))


def training(data, **changes) -> Training:
    splits = load_splits(data)
    return Training(str(data), {name: splits[name] for name in ("train", "val")}, **changes)


# What is run


def test_a_run_s_flags_are_those_of_train(data, tmp_path):
    plan = training(
        data,
        epochs=700,
        batch_size=5,
        imgsz=96,
        workers=1,
        cache="ram",
        head="anchor",
        parent=tmp_path / "p.pt",
        trust=True,
        hyp=tmp_path / "h.yaml",
    )
    args = vars(parser().parse_args(plan.argv("yolov5n.yaml", 3)))
    expected = {
        "cfg": "yolov5n.yaml",
        "data": str(data),
        "epochs": 700,
        "batch_size": 5,
        "imgsz": 96,
        "workers": 1,
        "cache": "ram",
        "head": "anchor",
        "weights": tmp_path / "p.pt",
        "trust": True,
        "hyp": tmp_path / "h.yaml",
        "seed": 3,
    }
    assert {key: args[key] for key in expected} == expected
    assert args["patience"] >= 700  # no run stops before the others


def test_what_is_not_given_is_left_to_train(data):
    args = vars(parser().parse_args(training(data).argv("yolov5n.yaml", 0)))
    assert [args[key] for key in ("weights", "head", "hyp", "cache", "trust")] == [None, None, None, None, False]


# What must not change


def test_all_that_makes_runs_equal_is_fixed(data, tmp_path):
    (tmp_path / "h.yaml").write_text("lr0: 0.5\n")
    (tmp_path / "p.pt").write_bytes(b"weights")
    base = training(data).fixed()
    assert base["recipe key lr0"] == 0.0015 and sum(key.startswith("recipe key") for key in base) == len(KEYS)
    assert base["annotations of train (sha256)"] == sha256(data.parent / "train.json")
    changes = {
        "--epochs": {"epochs": 7},
        "--batch-size": {"batch_size": 5},
        "--imgsz": {"imgsz": 96},
        "--workers": {"workers": 1},
        "--head": {"head": "anchor"},
        "--device (kind)": {"trained_on": "2 GPUs"},
        "--from (sha256)": {"parent": tmp_path / "p.pt"},
        "recipe key lr0": {"hyp": tmp_path / "h.yaml"},
    }
    for key, change in changes.items():
        other = training(data, **change).fixed()
        assert {k for k in base if base[k] != other[k]} == {key}


def test_what_does_not_change_a_result_is_free(data):
    assert training(data, cache="ram", trust=True).fixed() == training(data).fixed()


def test_other_annotations_are_another_plan(tmp_path):
    data = make_tiny(tmp_path)
    before = training(data).fixed()
    content = json.loads((tmp_path / "train.json").read_text())
    content["annotations"].pop()
    (tmp_path / "train.json").write_text(json.dumps(content))
    after = training(data).fixed()
    assert {k for k in before if before[k] != after[k]} == {"annotations of train (sha256)"}


def test_weights_to_start_from_that_are_missing_are_named(data, tmp_path):
    with pytest.raises(InputError, match=r"--from .*none.pt: no such file"):
        training(data, parent=tmp_path / "none.pt").fixed()


# Beginning and going on


def test_the_same_arguments_go_on_and_every_command_is_kept(tmp_path):
    assert settle(tmp_path, {"--epochs": 2, "recipe key lr0": 0.1}, "compare a") == ["compare a"]
    assert settle(tmp_path, {"--epochs": 2, "recipe key lr0": 0.1}, "compare b") == ["compare a", "compare b"]
    # What was typed now is the last.
    assert settle(tmp_path, {"--epochs": 2, "recipe key lr0": 0.1}, "compare a") == ["compare b", "compare a"]


def test_a_changed_argument_is_refused_with_both_values_and_nothing_changes(tmp_path):
    settle(tmp_path, {"--epochs": 2, "--head": None, "same": 1}, "compare a")
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(InputError) as refused:
        settle(tmp_path, {"--epochs": 40, "--head": "anchor", "same": 1.0}, "compare b")
    assert '--epochs 2, not 40, --head null, not "anchor", and its runs' in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path}: ") and "another --name" in str(refused.value)
    assert (tmp_path / "plan.json").read_bytes() == before


def test_an_argument_that_was_not_there_is_a_change(tmp_path):
    settle(tmp_path, {"compares": "finished models"}, "compare a")
    with pytest.raises(InputError, match=r'compares "finished models", not unset, --epochs unset, not 2'):
        settle(tmp_path, {"--epochs": 2}, "compare b")


def test_a_comparison_of_another_kind_is_said_in_a_word(tmp_path, data):
    settle(tmp_path, {**FINISHED, "--weights": ["a.pt"]}, "compare a")
    said = r": holds a comparison of finished models, not of models that it trains; give another --name$"
    with pytest.raises(InputError, match=said):
        settle(tmp_path, training(data).fixed(), "compare b")


def test_a_comparison_begun_by_an_older_version_goes_on(tmp_path, data):
    fixed = training(data, trained_on="1 GPU").fixed()
    unsaid = ("what it compares", "--device (kind)")
    settle(tmp_path, {key: value for key, value in fixed.items() if key not in unsaid}, "compare a")
    assert settle(tmp_path, fixed, "compare b") == ["compare a", "compare b"]
    with pytest.raises(InputError, match=r'begun with --device \(kind\) "1 GPU", not "cpu"'):
        settle(tmp_path, training(data).fixed(), "compare c")


@pytest.mark.parametrize(("trained_on", "images"), [("cpu", 6), ("mps", 6), ("1 GPU", 6), ("2 GPUs", 3), ("8 GPUs", 1)])
def test_a_batch_is_shared_by_gpus(data, trained_on, images):
    assert training(data, batch_size=6, trained_on=trained_on).batch_per_device == images


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fixed": 1, "commands": []}'])
def test_a_plan_that_is_none_is_named(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"plan.json: expected the plan of a comparison"):
        settle(tmp_path, {}, "compare")
