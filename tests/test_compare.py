"""Whole comparisons of tiny models."""

import contextlib
import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from live_detectors import live_detector
from small_detectors import CONV_ONLY, write_training_checkpoint
from tiny import ARGUMENTS, NAMES, contents, trained, without_pictures

from swin_yolo.cli import main
from swin_yolo.comparison import costs, training
from swin_yolo.engine.run_folder import locked
from swin_yolo.scoring.average_precision import METRIC_NAMES

FILES = ("compare.json", "compare.md", "compare.csv", "report.html")
MODELS = ("yolov5n", "yolov5n-swin")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture
def quick(monkeypatch):
    """Costs are measured once, memory not at all, and runs are trained in this process, one after the other."""
    monkeypatch.setattr(costs, "LATENCY_ROUNDS", 1)
    monkeypatch.setattr(costs, "TRAINING_ROUNDS", 1)
    monkeypatch.setattr("swin_yolo.comparison.measured.peak_memory_mb", lambda cfg, settings: 123.0)
    without_pictures(monkeypatch)

    class Done:
        stdin = io.BytesIO()

        def __init__(self, argv, out):
            with contextlib.redirect_stdout(out):
                self.code = main(argv[1:])

        def poll(self):
            return self.code

        wait = poll

    monkeypatch.setattr(training, "_start", Done)


def command(run, folder: Path, **changes) -> list[str]:
    flags = {"data": run.data, **ARGUMENTS, "match": "none", "resamples": 20, "project": folder, "name": "c", **changes}
    given = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["compare", "--cfg", "yolov5n.yaml", "yolov5n-swin.yaml", "--seeds", "0", "1", *given]


def kill_when(condition, argv: list[str]) -> None:
    """Start a command and kill it as soon as something is so."""
    with subprocess.Popen([sys.executable, "-c", "from swin_yolo.cli import console; console()", *argv]) as process:
        try:
            end = time.monotonic() + 600
            while not condition():
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_killed_comparison_finishes_only_what_is_missing(run, tmp_path, quick, capsys):
    folder, runs = tmp_path / "c", tmp_path / "c" / "runs"
    shutil.copytree(run.folder, runs / "yolov5n-swin-seed0")  # made by hand
    by_hand = contents(runs / "yolov5n-swin-seed0")
    argv = command(run, tmp_path)
    last = runs / "yolov5n-seed0" / "weights" / "last.pt"
    kill_when(last.is_file, argv)
    with locked(runs / "yolov5n-seed0", wait=60):  # its training has ended with it
        assert not any((folder / name).exists() for name in FILES)
        assert not (runs / "yolov5n-seed0" / "metrics.json").exists()

    capsys.readouterr()
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert re.search("4 runs: 2 to be trained from the start, 1 to be gone on with .*, 1 trained and scored", printed)
    logs = {log.stem: log.read_text() for log in (folder / "logs").iterdir()}
    assert logs.keys() == {"yolov5n-seed0", "yolov5n-seed1", "yolov5n-swin-seed1"}
    assert f"train --resume {last}" in logs["yolov5n-seed0"]
    assert contents(runs / "yolov5n-swin-seed0") == by_hand
    check_files(run, folder, printed)

    # Nothing is left to do.
    before = {name: file for name, file in contents(folder).items() if not name.startswith(FILES)}
    assert main(argv) == 0
    assert "4 runs: 4 trained and scored" in capsys.readouterr().out
    assert {name: file for name, file in contents(folder).items() if not name.startswith(FILES)} == before

    # A changed argument.
    assert main(command(run, tmp_path, epochs=3)) == 2
    assert "this comparison was begun with --epochs 2, not 3" in capsys.readouterr().err


def check_files(run, folder: Path, printed: str) -> None:
    compared = json.loads((folder / "compare.json").read_text())
    assert [model["name"] for model in compared["models"]] == list(MODELS)
    assert [[r["seed"] for r in model["runs"]] for model in compared["models"]] == [[0, 1], [0, 1]]
    assert compared["models"][1]["metrics"]["AP"]["values"][0] == run.metrics["AP"]
    assert compared["models"][1]["difference"]["metrics"].keys() == set(METRIC_NAMES)
    assert compared["models"][1]["difference"]["per_class"].keys() == {"block", "bar"}
    assert [len(model["curves"]) for model in compared["models"]] == [2, 2]
    assert compared["verdict"] in (folder / "compare.md").read_text() and compared["verdict"] in printed
    fair = {row["what"]: row["same"] for row in compared["fairness"]}
    assert fair["images seen in training"] and fair["optimiser steps"] and fair["recipe"] and fair["started from"]
    assert fair["whether a run was stopped and gone on with"] is False
    rows = list(csv.DictReader((folder / "compare.csv").read_text().splitlines()))
    assert [float(row["AP"]) for row in rows] == [m["metrics"]["AP"]["mean"] for m in compared["models"]]
    assert "yolov5n-swin" in (folder / "report.html").read_text()


def test_the_control_is_trained_too_and_the_verdict_is_about_it(run, tmp_path, quick, monkeypatch):
    """One seed, one epoch of three small models."""
    cfgs = [tmp_path / "vanilla.yaml", tmp_path / "wide.yaml"]
    wide = [[*row, [4 * width, *rest]] for *row, (width, *rest) in CONV_ONLY["backbone"]]
    for cfg, backbone in zip(cfgs, (CONV_ONLY["backbone"], wide), strict=True):
        cfg.write_text(yaml.safe_dump({**CONV_ONLY, "backbone": backbone}))
    argv = ["compare", "--cfg", *map(str, cfgs), "--seeds", "0", "--data", str(run.data), "--project", str(tmp_path)]
    given = {**ARGUMENTS, "epochs": 1, "resamples": 20}
    argv += [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert main(argv) == 0
    compared = json.loads((tmp_path / "exp" / "compare.json").read_text())
    baseline, wide, control = compared["models"]
    assert (wide["role"], control["role"]) == ("candidate", "control") and control["name"].startswith("vanilla-w")
    assert abs(control["parameters"] - wide["parameters"]) < abs(baseline["parameters"] - wide["parameters"])
    assert wide["against_control"]["name"] == control["name"] and control["name"] in compared["verdict"]
    assert "no control" not in wide["verdict"]["sentence"] and "With one run" in wide["verdict"]["sentence"]
    # The same command finds the same control.
    assert main(argv) == 0


def test_finished_models_of_any_kind_are_compared(run, tmp_path, quick, capsys):
    model = live_detector("yolov5n.yaml", nc=2)
    model.names = NAMES
    # As ultralytics writes them, in a training of its own.
    vanilla = write_training_checkpoint(tmp_path / "vanilla.pt", model)
    assert main(["export", "--weights", str(vanilla), "--imgsz", "64"]) == 0
    weights = [run.best, vanilla.with_suffix(".onnx"), vanilla]
    argv = ["compare", "--weights", *map(str, weights), "--data", str(run.data), "--imgsz", "64", "--workers", "0"]
    argv += ["--batch-size", "4", "--device", "cpu", "--resamples", "20", "--project", str(tmp_path)]
    assert main(argv) == 0
    folder = tmp_path / "exp"
    compared = json.loads((folder / "compare.json").read_text())
    names = [model["name"] for model in compared["models"]]
    assert names == ["exp", "vanilla.onnx", "vanilla.pt"]  # the run's folder, and files of one stem
    ours, onnx, theirs = compared["models"]
    assert ours["metrics"]["AP"]["values"] == [run.metrics["AP"]] and ours["parameters"] == run.metrics["params"]
    assert onnx["parameters"] is None and theirs["parameters"] == sum(p.numel() for p in model.parameters())
    assert onnx["metrics"]["AR100"]["mean"] == pytest.approx(theirs["metrics"]["AR100"]["mean"], abs=0.02)
    assert all(m["latency_ms"] and m["training_images_per_second"] is None for m in compared["models"])
    assert all((folder / name).stat().st_size for name in FILES)
    one_run = "With one run of {} and of exp this speaks of these weights, not of other seeds."
    assert compared["caveats"][-4:] == [
        "6 images are few: the interval may well be too narrow.",
        "20 resamples place the ends of an interval roughly; take 1000 or more.",
        *(one_run.format(name) for name in ("vanilla.onnx", "vanilla.pt")),
    ]
    # Other models go elsewhere, and so do trained ones.
    before = (folder / "compare.json").read_bytes()
    assert main([part for part in argv if part != str(vanilla)]) == 2
    assert re.search(r"begun with --weights \[.*\], not \[.*\], .* another --name", capsys.readouterr().err)
    assert main(command(run, tmp_path, name="exp")) == 2
    assert "a comparison of finished models, not of models that it trains; give another" in capsys.readouterr().err
    assert (folder / "compare.json").read_bytes() == before
