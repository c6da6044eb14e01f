import itertools
import os

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
from swin_yolo.engine.evaluate import evaluate
from swin_yolo.engine.model import build_model, load_model
from swin_yolo.engine.recipe import load_recipe
from swin_yolo.engine.train import resume, train
from swin_yolo.engine.trainer import CocoTrainer
from swin_yolo.errors import InputError

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
def stop_at(monkeypatch, plain):
    """Lets an exception come in place of a training batch, counted from 1 over all epochs; None lets training pass."""
    preprocess_batch = CocoTrainer.preprocess_batch

    def arrange(number, error=KeyboardInterrupt):
        count = itertools.count(1)

        def preprocess(self, batch):
            if next(count) == number:
                raise error
            return preprocess_batch(self, batch)

        monkeypatch.setattr(CocoTrainer, "preprocess_batch", preprocess)

    return arrange


def losses(row):
    return {key: value for key, value in row.items() if "loss" in key}


def rates(row):
    return {key: value for key, value in row.items() if key.startswith("lr/")}


def test_a_run_stopped_in_its_second_epoch_goes_on_as_if_it_had_not_been(stop_at, data, run, tmp_path):
    folder = tmp_path / "run"
    stop_at(BATCHES + 2)
    with pytest.raises(KeyboardInterrupt):
        train(CFG, data, save_dir=folder, **ARGUMENTS)
    whole = rows_of(run.folder)
    (first,) = rows_of(folder)
    # The same seed: the same losses, also in another run.
    assert losses(first) == losses(whole[0]) and rates(first) == rates(whole[0])
    assert checkpoint(folder / "weights" / "last.pt")["epoch"] == 0

    stop_at(None)
    evaluation = resume(folder / "weights" / "last.pt", device="cpu", workers=0)
    rows = rows_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0] == first and float(rows[1]["time"]) > float(first["time"])
    # The schedule is that of the whole run. Its losses are not: checkpoints hold the averaged weights, in fp16.
    assert rates(rows[1]) == rates(whole[1])
    assert evaluation.save_dir == folder and evaluation.metrics["split"] == "val"
    before, after = (yaml.safe_load((f / "args.yaml").read_text()) for f in (run.folder, folder))
    assert {k: after[k] for k in load_recipe()} == {k: before[k] for k in load_recipe()}
    with pytest.raises(InputError, match=r"--resume .*last.pt: this run has ended; start another .* --weights"):
        resume(folder / "weights" / "last.pt", device="cpu")


def test_a_run_stopped_in_its_first_epoch_leaves_a_checkpoint_to_use_and_to_go_on_from(stop_at, data, tmp_path, caplog):
    folder, last = tmp_path / "run", tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"of an older run in this folder")
    stop_at(BATCHES)
    with pytest.raises(KeyboardInterrupt):
        train(CFG, data, save_dir=folder, **(ARGUMENTS | {"epochs": 1}))
    assert f"Stopped; go on with --resume {last}" in caplog.text
    assert not (folder / "results.csv").exists() and not (folder / "weights" / "best.pt").exists()
    scored = evaluate(last, data, save_dir=tmp_path / "val", imgsz=64, device="cpu", workers=0, plots=False)
    assert scored.metrics["images"] == 6

    (folder / "results.csv").write_text("epoch,time\n1,2\n")  # as where the stop came between this row and last.pt
    stop_at(None)
    resume(last, device="cpu", workers=0)
    assert [row.split(",")[0] for row in (folder / "results.csv").read_text().splitlines()] == ["epoch", "1"]
    assert (folder / "weights" / "best.pt").exists()


def test_a_run_that_an_older_version_began_keeps_its_columns(stop_at, data, tmp_path):
    folder = tmp_path / "run"
    stop_at(BATCHES + 1)
    with pytest.raises(KeyboardInterrupt):
        train(CFG, data, save_dir=folder, **ARGUMENTS)
    old = ["".join(f"{','.join(row.split(',')[:-2])}\n") for row in (folder / "results.csv").read_text().splitlines()]
    (folder / "results.csv").write_text("".join(old))
    stop_at(None)
    resume(folder / "weights" / "last.pt", device="cpu", workers=0)
    rows = rows_of(folder)
    assert len(rows) == 2 and "images" not in rows[1] and list(rows[0])[-1] == "lr/pg2"


def test_a_run_stopped_before_its_first_step_says_nothing_of_a_checkpoint(data, tmp_path, monkeypatch, caplog):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(CocoTrainer, "_setup_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(CFG, data, save_dir=tmp_path / "run", **ARGUMENTS)
    assert "Starting" not in caplog.text and "Stopped" not in caplog.text


def test_input_that_breaks_after_an_epoch_leaves_the_checkpoints(stop_at, data, tmp_path):
    stop_at(BATCHES + 1, InputError("an image is gone"))
    with pytest.raises(InputError, match="an image is gone"):
        train(CFG, data, save_dir=tmp_path / "run", **ARGUMENTS)
    assert load_model(tmp_path / "run" / "weights" / "last.pt")


def test_a_run_from_weights_of_other_class_widths_goes_on(stop_at, data, tmp_path):
    wide = build_model("yolov5n.yaml", nc=80)
    wide.names = {i: f"class {i}" for i in range(80)}
    torch.save({"model": wide}, tmp_path / "wide.pt")
    folder = tmp_path / "run"
    stop_at(BATCHES + 1)
    with pytest.raises(KeyboardInterrupt):
        train("yolov5n.yaml", data, save_dir=folder, weights=tmp_path / "wide.pt", **ARGUMENTS)
    stop_at(None)
    resume(folder / "weights" / "last.pt", device="cpu", workers=0)
    width = wide.model[-1].cv3[0][0].conv.out_channels
    assert width == 80 != build_model("yolov5n.yaml", nc=2).model[-1].cv3[0][0].conv.out_channels
    assert load_model(folder / "weights" / "best.pt").model[-1].cv3[0][0].conv.out_channels == width


def test_a_run_to_go_on_with_runs_no_code_and_names_no_other_file(stop_at, data, tmp_path):
    canary = tmp_path / "canary"
    file = stopped(tmp_path / "a", optimizer={"state": Attack(os.mkdir, str(canary))})
    with pytest.raises(InputError, match=rf"^--resume {file}: refused, since it names .* no run of ours does$"):
        resume(file, data=data, device="cpu")
    saved = {**ARGUMENTS, "batch": 4, "data": str(data), "distill_model": str(tmp_path / "other.pt"), "lr0": 0.007}
    last = stopped(tmp_path / "b", train_args=saved)
    trainer = CocoTrainer(overrides={"model": str(last), "resume": str(last), "save_dir": str(tmp_path / "b")})
    assert (trainer.args.lr0, trainer.args.distill_model) == (0.007, None)
    assert not canary.exists()


def stopped(run_folder, *, parent="weights", names=NAMES, **changes):
    """A checkpoint as a run that was stopped leaves it."""
    model = build_model(CFG, nc=2)
    model.names = names
    content = {"model": None, "ema": model, "optimizer": {}, "epoch": 0, "train_args": {"epochs": 2, "data": "none"}}
    file = run_folder / parent / "last.pt"
    file.parent.mkdir(parents=True)
    torch.save(content | changes, file)
    return file


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": None}, r"this run has ended"),
        ({"epoch": 1}, r"this run has ended"),  # killed after its last epoch
        ({"parent": "downloads"}, r"expected weights/last.pt in the folder of its run"),
        ({"names": {0: "block", 1: "rod"}}, r"its classes are .*rod.*, those of the dataset .*bar"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(data, tmp_path, changes, expected):
    file = stopped(tmp_path, **changes)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"^--resume {file}: {expected}"):
        resume(file, data=data, device="cpu")
    assert contents(tmp_path) == before


def test_resuming_without_the_data_names_it(tmp_path):
    with pytest.raises(InputError, match=r"none: no dataset YAML or folder of that name"):
        resume(stopped(tmp_path), device="cpu")


@pytest.mark.parametrize("content", [None, b"half a checkpoi"])
def test_a_file_to_resume_that_is_no_checkpoint_is_named_by_its_flag(tmp_path, content):
    if content is not None:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match=rf"^--resume {tmp_path}/last.pt: "):
        resume(tmp_path / "last.pt", device="cpu")


@pytest.mark.parametrize(
    ("before", "now", "both"),
    [
        (None, "cpu", "cpu"),
        ("cpu", "cpu", "cpu"),
        ("cpu", "1 GPU", "cpu, then 1 GPU"),
        ("cpu, then 1 GPU", "1 GPU", "cpu, then 1 GPU"),
    ],
)
def test_what_a_run_was_trained_on_is_all_that_it_went_on_on(data, tmp_path, monkeypatch, before, now, both):
    last = stopped(tmp_path, train_args={**ARGUMENTS, "batch": 4, "data": str(data), "trained_on": before})
    monkeypatch.setattr(train_module, "_run", lambda trainer, **_: trainer)
    monkeypatch.setattr(train_module, "kind_of_device", lambda _: now)
    assert resume(last, device="cpu").args.trained_on == both
