import json
import os
import re
import subprocess
from dataclasses import replace

import cv2
import pytest
import torch
import yaml
from tiny import (
    ARGUMENTS,
    BATCHES,
    NAMES,
    checkpoint,
    contents,
    rows_of,
    tiny_set,
    trained,
    without_pictures,
)
from weight_files import Attack

from swin_yolo.engine import train as train_module
from swin_yolo.engine import validator as validator_module
from swin_yolo.engine.model import build_model, load_model
from swin_yolo.engine.recipe import load_recipe
from swin_yolo.engine.train import train
from swin_yolo.engine.trainer import CocoTrainer
from swin_yolo.errors import InputError
from swin_yolo.files import sha256
from swin_yolo.nn import AnchorDetect
from swin_yolo.scoring.average_precision import METRIC_NAMES

CFG = "yolov5n-swin.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


@pytest.fixture
def plain(monkeypatch):
    """Runs without pictures."""
    without_pictures(monkeypatch)


@pytest.fixture
def prepared(monkeypatch):
    """`train` up to the training itself: a function of its arguments, which gives the trainer."""

    def prepare(*args, **kwargs):
        monkeypatch.setattr(train_module, "_run", lambda trainer, **_: trainer)
        return train(*args, **kwargs)

    return prepare


# A whole run


def test_a_run_folder_holds_everything(run):
    assert contents(run.folder).keys() == {
        "args.yaml",
        "results.csv",
        "metrics.json",
        "predictions.json",
        "weights/last.pt",
        "weights/best.pt",
        "results.png",
        "labels.png",
        "pr_curve.png",
        "confusion_matrix.png",
        "predictions.jpg",
        "train_batch0.jpg",
        "train_batch1.jpg",
        "train_batch2.jpg",
    }


def test_pictures_of_a_run_can_be_read(run):
    pictures = [f for f in run.folder.iterdir() if f.suffix in {".png", ".jpg"}]
    assert len(pictures) == 8
    assert all(cv2.imread(str(f)) is not None for f in pictures)


def test_results_csv_has_a_row_per_epoch_and_coco_s_columns(run):
    rows = rows_of(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    train_losses, val_losses = ([f"{part}/{loss}_loss" for loss in ("box", "cls", "dfl")] for part in ("train", "val"))
    lr = ["lr/pg0", "lr/pg1", "lr/pg2"]
    assert list(rows[0]) == ["epoch", "time", *train_losses, *METRIC_NAMES, *val_losses, *lr, "images", "steps"]
    assert all(float(row[loss]) > 0 for row in rows for loss in train_losses)
    # 12 images in three batches, two of which make a step.
    assert [(row["images"], row["steps"]) for row in rows] == [("12", "2")] * 2


def test_metrics_json_has_the_score_of_best_pt_and_what_it_is_of(run):
    metrics = run.metrics
    assert all(-1 <= metrics[name] <= 1 for name in METRIC_NAMES)
    assert metrics["per_class"].keys() == {"block", "bar"}
    assert {"params", "gflops", "seconds", "versions"} <= metrics.keys()
    assert (metrics["imgsz"], metrics["split"], metrics["images"]) == (64, "val", 6)
    assert metrics["weights"] == {"file": str(run.best), "sha256": sha256(run.best)}
    assert metrics["data"]["sha256"] == sha256(run.data.parent / "val.json")


def test_predictions_have_the_dataset_s_own_ids(run):
    assert {p["image_id"] for p in run.detections} <= set(range(100, 160, 10))
    assert {p["category_id"] for p in run.detections} == {3, 7}


def test_nothing_is_written_into_the_dataset_folder(run):
    assert contents(run.data.parent) == run.files_before


def test_args_yaml_holds_the_recipe_and_the_arguments(run):
    args = yaml.safe_load((run.folder / "args.yaml").read_text())
    expected = {**load_recipe(), "model": CFG, "data": str(run.data), "epochs": 2, "batch": 4, "imgsz": 64, "seed": 0}
    assert {key: args[key] for key in expected} == expected


def test_finished_checkpoints_carry_classes_and_no_optimiser(run):
    for name in ("last", "best"):
        file = run.folder / "weights" / f"{name}.pt"
        assert checkpoint(file)["optimizer"] is None
        assert load_model(file).names == NAMES


# What is trained


def test_every_argument_reaches_the_trainer(prepared, data, tmp_path):
    (tmp_path / "hyp.yaml").write_text("lr0: 0.004\nclip_norm: 3.0\n")
    weights = tmp_path / "weights.pt"
    torch.save({"model": build_model(CFG, nc=2)}, weights)
    trainer = prepared(
        CFG,
        data,
        save_dir=tmp_path / "run",
        hyp=tmp_path / "hyp.yaml",
        epochs=7,
        batch_size=5,
        imgsz=96,
        device="cpu",
        workers=1,
        optimizer="SGD",
        cos_lr=False,
        patience=3,
        head="anchor",
        weights=weights,
        layer_decay=0.5,
        freeze=[0, "C3"],
        cache="ram",
        seed=11,
    )
    expected = {
        **load_recipe(),
        "lr0": 0.004,
        "clip_norm": 3.0,
        "epochs": 7,
        "batch": 5,
        "imgsz": 96,
        "device": "cpu",
        "workers": 1,
        "optimizer": "SGD",
        "cos_lr": False,
        "patience": 3,
        "layer_decay": 0.5,
        "started_from": {"file": str(weights), "sha256": sha256(weights)},
        "trained_on": "cpu",
        "pretrained_rows": [6, 8],
        "freeze": ["0", "2", "4", "13", "17", "20", "23"],
        "cache": "ram",
        "seed": 11,
        "data": str(data),
        "save_dir": str(tmp_path / "run"),
    }
    assert {key: getattr(trainer.args, key) for key in expected} == expected
    assert isinstance(trainer.model.model[-1], AnchorDetect)


def test_a_seed_gives_two_models_the_same_batches_and_another_others(plain, data, tmp_path, monkeypatch):
    preprocess_batch, seen = CocoTrainer.preprocess_batch, []

    def record(self, batch):
        seen.append((batch["im_file"], batch["img"].clone(), batch["bboxes"].clone()))
        return preprocess_batch(self, batch)

    monkeypatch.setattr(CocoTrainer, "preprocess_batch", record)
    for cfg, seed in (("yolov5n.yaml", 3), (CFG, 3), (CFG, 4)):
        train(cfg, data, save_dir=tmp_path / f"{cfg}{seed}", **(ARGUMENTS | {"seed": seed}))
    runs = [seen[i : i + 2 * BATCHES] for i in range(0, len(seen), 2 * BATCHES)]
    assert len(runs) == 3
    for one, other in zip(runs[0], runs[1], strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1]) and torch.equal(one[2], other[2])
    assert [files for files, *_ in runs[1]] != [files for files, *_ in runs[2]]


def test_a_seed_gives_the_same_weights_and_another_others(prepared, data, tmp_path):
    first, again, other = (
        prepared(CFG, data, save_dir=tmp_path / str(i), device="cpu", seed=seed).model.state_dict()
        for i, seed in enumerate((0, 0, 1))
    )
    name = "model.0.conv.weight"
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first[name], other[name])


def test_weights_are_taken_where_name_and_shape_agree(prepared, data, run, tmp_path):
    trainer = prepared("yolov5n-c3str.yaml", data, save_dir=tmp_path, weights=run.best, device="cpu")
    started, given = trainer.model.state_dict(), load_model(run.best).state_dict()
    taken = [k for k in started if k in given and given[k].shape == started[k].shape]
    assert 200 < len(taken) < len(started)
    assert all(torch.equal(started[k], given[k]) for k in taken)


def test_rows_of_the_classification_head_are_taken_by_class_name(prepared, data, run, tmp_path):
    model = load_model(run.best)
    model.names = {0: "bar", 1: "block"}  # the dataset's are block, bar
    torch.save({"model": model}, tmp_path / "turned.pt")
    trainer = prepared(CFG, data, save_dir=tmp_path / "run", weights=tmp_path / "turned.pt", device="cpu")
    for started, given in zip(trainer.model.model[-1].cv3, model.model[-1].cv3, strict=True):
        assert torch.equal(started[-1].weight, given[-1].weight[[1, 0]])


def test_what_was_taken_is_reported_by_row(prepared, data, run, tmp_path, caplog):
    trainer = prepared("yolov5n-c3str.yaml", data, save_dir=tmp_path, weights=run.best, device="cpu")
    assert f"{run.best} into yolov5n-c3str.yaml" in caplog.text
    assert re.search(r"^ +8 C3STR +\d+ ", caplog.text, re.MULTILINE) and "left over in the file: " in caplog.text
    assert trainer.args.pretrained_rows == []  # its rows 6 and 8 have none of our Swin rows


@pytest.mark.parametrize(("head", "unread"), [(None, "anchor_t"), ("anchor", "dfl")])
def test_gains_of_the_other_head_are_warned_of(prepared, data, tmp_path, caplog, head, unread):
    hyp = tmp_path / "hyp.yaml"
    hyp.write_text("anchor_t: 3.0\ndfl: 2.0\n")
    prepared(CFG, data, save_dir=tmp_path / "run", hyp=hyp, head=head, device="cpu")
    assert f"--hyp {hyp}: the head of {CFG} does not read {unread}, which" in caplog.text


def test_a_layer_decay_that_slows_nothing_is_warned_of(prepared, data, run, tmp_path, caplog):
    hyp = tmp_path / "hyp.yaml"
    hyp.write_text("layer_decay: 0.5\n")
    warning = f"--hyp {hyp}: layer_decay slows nothing, as --weights fills no Swin row of {CFG}"
    prepared(CFG, data, save_dir=tmp_path / "run", hyp=hyp, weights=run.best, device="cpu")
    assert warning not in caplog.text
    prepared(CFG, data, save_dir=tmp_path / "run", hyp=hyp, device="cpu")
    assert warning in caplog.text


def test_one_number_freezes_so_many_rows_and_they_are_named(prepared, data, tmp_path, caplog):
    trainer = prepared(CFG, data, save_dir=tmp_path / "run", freeze=["3"], device="cpu")
    assert trainer.args.freeze == ["0", "1", "2"] and "Frozen: 0, 1, 2\n" in caplog.text


def test_weights_that_would_run_code_are_refused_unless_trusted(prepared, data, tmp_path):
    weights, canary = tmp_path / "weights.pt", tmp_path / "canary"
    torch.save({"model": build_model(CFG, nc=2), "extra": Attack(os.mkdir, str(canary))}, weights)
    with pytest.raises(InputError, match=rf"^--weights {weights}: refused, since it names .*; --trust reads it"):
        prepared(CFG, data, save_dir=tmp_path / "run", weights=weights, device="cpu")
    assert not canary.exists() and not (tmp_path / "run").exists()
    prepared(CFG, data, save_dir=tmp_path / "run", weights=weights, trust=True, device="cpu")
    assert canary.exists()


def test_frozen_rows_do_not_change(plain, data, tmp_path):
    frozen = [0, 6]
    trained_model = {}

    def after_training(trainer, **_):
        CocoTrainer.train(trainer)
        trained_model.update(trainer.model.state_dict())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "_run", after_training)
        train(CFG, data, save_dir=tmp_path / "run", freeze=frozen, optimizer="SGD", **(ARGUMENTS | {"epochs": 1}))
    torch.manual_seed(0)
    started = build_model(CFG, nc=2).state_dict()
    changed = {int(k.split(".")[1]) for k, v in trained_model.items() if not torch.equal(v, started[k])}
    assert set(range(25)) - changed >= set(frozen)
    assert {1, 5, 8, 9, 24} <= changed


def test_best_pt_is_the_epoch_of_the_best_ap_and_training_stops_when_ap_stays(plain, data, tmp_path, monkeypatch):
    aps = iter((0.2, 0.5, 0.3, 0.4))
    score_detections = validator_module.score_detections

    def planned(truth, detections):
        score = score_detections(truth, detections)
        return replace(score, metrics={**score.metrics, "AP": next(aps)})

    monkeypatch.setattr(validator_module, "score_detections", planned)
    folder = tmp_path / "run"
    train("yolov5n.yaml", data, save_dir=folder, patience=2, **(ARGUMENTS | {"epochs": 10}))
    assert [row["AP"] for row in rows_of(folder)] == ["0.2", "0.5", "0.3", "0.4"]
    assert checkpoint(folder / "weights" / "best.pt")["train_metrics"]["AP"] == 0.5
    assert checkpoint(folder / "weights" / "last.pt")["train_metrics"]["AP"] == 0.4


def test_a_failure_in_the_process_of_a_device_is_one_line(data, tmp_path, monkeypatch):
    def fail(self):
        raise subprocess.CalledProcessError(1, ["python", "-m", "torch.distributed.run"])

    monkeypatch.setattr(train_module, "choose_device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(train_module, "kind_of_device", lambda device: "2 GPUs")
    monkeypatch.setattr(CocoTrainer, "__init__", lambda self, **_: None)
    monkeypatch.setattr(CocoTrainer, "train", fail)
    with pytest.raises(InputError, match=r"^--device 0,1: training stopped in the process of a device, which .*why$"):
        train(CFG, data, save_dir=tmp_path / "run", **(ARGUMENTS | {"device": "0,1"}))
    assert contents(tmp_path) == {}


def test_the_metrics_a_run_prints_are_those_it_writes(run):
    average = json.loads((run.folder / "metrics.json").read_text())["AP"]
    assert f"{average:.3f}" in run.printed and f"Written to {run.folder}" in run.printed
