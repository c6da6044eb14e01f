import json
import shutil

import pytest
import torch
import yaml
from tiny import ARGUMENTS, checkpoint, trained

from swin_yolo.comparison.fairness import fairness_table
from swin_yolo.comparison.plan import Training
from swin_yolo.comparison.results import ModelResult, RunResult, curve_of, seconds_of
from swin_yolo.comparison.run_state import arguments
from swin_yolo.comparison.scores import Scored
from swin_yolo.engine.datasets import load_splits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture
def training(run):
    splits = load_splits(run.data)
    given = {key: ARGUMENTS[key] for key in ("imgsz", "epochs", "batch_size", "workers")}
    return Training(str(run.data), {name: splits[name] for name in ("train", "val")}, **given)


@pytest.fixture
def folders(run, tmp_path):
    """The same run for two models with two seeds each."""
    return {n: [shutil.copytree(run.folder, tmp_path / f"{n}-{seed}") for seed in (0, 1)] for n in ("a", "b")}


def result_of(folder, seed=0) -> RunResult:
    metrics = json.loads((folder / "metrics.json").read_text())
    return RunResult(Scored(folder / "weights" / "best.pt", "", metrics, {}, folder), seed, folder)


def table(folders, training) -> dict:
    models = [
        ModelResult(name, "candidate", [result_of(folder, seed) for seed, folder in enumerate(found)])
        for name, found in folders.items()
    ]
    return {row["what"]: row for row in fairness_table(models, training)}


def change(folder, **changes) -> None:
    kept = arguments(folder) | changes
    (folder / "args.yaml").write_text(yaml.safe_dump({k: v for k, v in kept.items() if v != "gone"}))


# Of models trained here


def test_equal_runs_are_equal_in_everything(folders, training):
    found = table(folders, training)
    assert all(row["same"] is True for row in found.values())
    shown = {what: row["values"]["b"] for what, row in found.items()}
    # Two epochs of 12 images in batches of 4, two of them a step.
    assert shown["epochs"] == "2" and shown["images seen in training"] == "24" and shown["optimiser steps"] == "4"
    assert shown["seeds of weights, data order and augmentation"] == "0, 1"
    assert shown["image side, batch size"] == "64, 4" and shown["processes that load images"] == "0"
    assert shown["started from"] == "fresh weights" and shown["head"] == "Detect"
    assert shown["images scored"] == "6"
    assert shown["recipe"].startswith("AdamW, lr0 0.0015; all 37 keys: ")


@pytest.mark.parametrize(
    ("changes", "what", "value"),
    [
        ({"imgsz": 96}, "image side, batch size", "64, 4; 96, 4"),
        ({"workers": 5}, "processes that load images", "0; 5"),
        ({"trained_on": "1 GPU"}, "trained on", "cpu; 1 GPU"),
        (
            {"started_from": {"file": "x.pt", "sha256": "f" * 64}},
            "started from",
            f"fresh weights; weights of sha256 {'f' * 12}",
        ),
        ({"resume": "last.pt"}, "whether a run was stopped and gone on with", "no; yes"),
    ],
)
def test_what_one_run_has_otherwise_is_shown(folders, training, changes, what, value):
    change(folders["b"][1], **changes)
    found = table(folders, training)
    assert [what for what, row in found.items() if row["same"] is not True] == [what]
    assert found[what]["same"] is False and found[what]["values"]["b"] == value


def test_what_differs_between_the_runs_of_each_model_alike_is_fair(folders, training):
    for name in ("a", "b"):
        change(folders[name][1], resume="last.pt")
    stopped = "whether a run was stopped and gone on with"
    assert table(folders, training)[stopped] == {
        "what": stopped,
        "same": True,
        "values": {"a": "no; yes", "b": "no; yes"},
    }
    change(folders["b"][0], resume="last.pt")
    assert table(folders, training)[stopped]["same"] is False


def test_a_batch_that_the_checkpoint_alone_knows_of_is_shown(folders, training):
    best = folders["b"][1] / "weights" / "best.pt"
    content = checkpoint(best)
    content["train_args"]["batch"] = 2  # halved by ultralytics when the memory ran out
    torch.save(content, best)
    row = table(folders, training)["image side, batch size"]
    assert row["same"] is False and row["values"]["b"] == "64, 4; 64, 2"


def test_another_recipe_is_another_digest(folders, training):
    change(folders["b"][0], hsv_h=0.5)
    found = table(folders, training)
    assert found["recipe"]["same"] is False and found["recipe"]["values"]["a"] in found["recipe"]["values"]["b"]


def test_images_and_steps_are_those_counted_in_training(folders, training):
    csv = folders["b"][0] / "results.csv"
    head, first, second = csv.read_text().splitlines()
    csv.write_text("\n".join([head, first, ",".join([*second.split(",")[:-2], "8", "1"])]) + "\n")
    found = table(folders, training)
    assert found["images seen in training"] == {
        "what": "images seen in training",
        "same": False,
        "values": {"a": "24", "b": "20; 24"},
    }
    assert found["optimiser steps"]["same"] is False


def test_seeds_that_differ_are_shown(folders, training):
    del folders["b"][1]
    found = table(folders, training)
    row = found["seeds of weights, data order and augmentation"]
    assert row["same"] is False and row["values"] == {"a": "0, 1", "b": "0"}


def test_what_older_runs_did_not_record_is_not_said_to_be_equal(folders, training):
    for folder in (folder for found in folders.values() for folder in found):
        change(folder, started_from="gone")
        csv = folder / "results.csv"
        csv.write_text("\n".join(",".join(row.split(",")[:-2]) for row in csv.read_text().splitlines()) + "\n")
    found = table(folders, training)
    assert found["started from"] == {
        "what": "started from",
        "same": None,
        "values": {"a": "not recorded", "b": "not recorded"},
    }
    # Worked out of epochs and images; steps are not where batches are gathered up to one.
    assert found["images seen in training"]["values"]["a"] == "24" and found["images seen in training"]["same"] is True
    assert found["optimiser steps"]["same"] is None
    for folder in (folder for runs in folders.values() for folder in runs):
        change(folder, nbs=4)
    assert table(folders, training)["optimiser steps"]["values"]["a"] == "6"


def test_one_run_that_differs_from_what_others_did_not_record_is_not_checked(folders, training):
    change(folders["a"][0], started_from="gone")
    row = table(folders, training)["started from"]
    assert row["same"] is None and row["values"]["a"] == "not recorded; fresh weights"


# Of finished models


def finished(*files) -> dict:
    content = {"images": 6, "imgsz": 64}
    models = [ModelResult(f.stem, "candidate", [RunResult(Scored(f, "", content, {}, f.parent))]) for f in files]
    return {row["what"]: row for row in fairness_table(models, None)}


def test_finished_models_say_what_their_files_say(run, tmp_path):
    what = "trained for (epochs, batch size, image side)"
    assert finished(run.best)[what] == {"what": what, "same": True, "values": {"best": "2, 4, 64"}}
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / "plain.pt")
    found = finished(run.best, tmp_path / "plain.pt", tmp_path / "other.onnx")
    assert found[what]["values"] == {"best": "2, 4, 64", "plain": "not recorded", "other": "not recorded"}
    assert found[what]["same"] is None
    assert found["images scored"] == {
        "what": "images scored",
        "same": True,
        "values": dict.fromkeys(found[what]["values"], "6"),
    }


# Courses


def test_a_run_s_curve_and_seconds_are_those_of_its_results_csv(run, tmp_path):
    (tmp_path / "results.csv").write_text(
        "epoch,time,train/box_loss,train/cls_loss,val/box_loss,AP,AP50\n1,10,1,2,9,0.1,0.2\n2,25,0.5,nan,9,0.3,0.4\n"
    )
    result = RunResult(result_of(run.folder).scored, 3, tmp_path)
    assert curve_of(result) == {"seed": 3, "epoch": [1, 2], "AP": [0.1, 0.3], "AP50": [0.2, 0.4], "loss": [3.0, None]}
    assert seconds_of(result) == 25.0
    elsewhere = RunResult(result.scored)
    assert curve_of(elsewhere) is None and seconds_of(elsewhere) is None
