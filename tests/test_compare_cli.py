import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import make_tiny

from swin_yolo.cli import compare, main

TRAINING = {
    "task": ["test"],
    "epochs": ["3"],
    "batch_size": ["5"],
    "imgsz": ["96"],
    "hyp": ["h.yaml"],
    "seeds": ["4", "5"],
    "match": ["gflops"],
    "match_to": ["b"],
    "jobs": ["2"],
    "head": ["anchor"],
    "from": ["p.pt"],
    "data": ["bccd.yaml"],
    "device": ["cpu"],
    "workers": ["0"],
    "cache": ["disk"],
    "resamples": ["9"],
    "project": ["elsewhere"],
    "name": ["other"],
}
FINISHED = ("trust", "data", "task", "imgsz", "batch_size", "device", "workers", "resamples", "project", "name")
VALUES = {**TRAINING, "trust": []}


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What is called, in the place of calling it: the function's name and its arguments."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def record(name):
        def call(*args, **kwargs):
            calls.append((name, args, {k: v for k, v in kwargs.items() if k != "command"}, kwargs["command"]))
            return SimpleNamespace(content={}, files=[kwargs["save_dir"] / "compare.json"])

        return call

    for name in ("compare_trained", "compare_finished"):
        monkeypatch.setattr(f"swin_yolo.comparison.compare.{name}", record(name))
    monkeypatch.setattr("swin_yolo.report.comparison_table.comparison_lines", lambda content: ["a verdict"])

    def call(*argv: str):
        assert main(["compare", *argv]) == 0
        return calls.pop()

    return call


CFG = ("--cfg", "a.yaml", "b.yaml")
WEIGHTS = ("--weights", "a.pt", "b.onnx")


def test_every_flag_is_tried_below():
    tried = VALUES.keys() | {"help", "cfg", "weights"}
    assert {action.dest for action in compare.parser()._actions} == tried


@pytest.mark.parametrize("flag", TRAINING)
def test_every_flag_of_training_changes_what_is_called(called, flag):
    assert called(*CFG, f"--{flag.replace('_', '-')}", *TRAINING[flag])[:3] != called(*CFG)[:3]


@pytest.mark.parametrize("flag", FINISHED)
def test_every_flag_for_finished_models_changes_what_is_called(called, flag):
    assert called(*WEIGHTS, f"--{flag.replace('_', '-')}", *VALUES[flag])[:3] != called(*WEIGHTS)[:3]


def test_trust_is_handed_on_with_what_is_to_be_trusted(called):
    assert called(*CFG, "--from", "p.pt", "--trust")[2]["trust"] and not called(*CFG, "--from", "p.pt")[2]["trust"]


def test_flags_mean_what_they_say(called, tmp_path):
    name, args, given, command = called(*CFG, "--seeds", "3", "--cache", "--name", "x y")
    assert (name, args) == ("compare_trained", (["a.yaml", "b.yaml"], "demo.yaml"))
    assert given["save_dir"] == tmp_path / "runs" / "compare" / "x y"
    assert (given["seeds"], given["cache"], given["match"], given["jobs"]) == ([3], "ram", None, 1)
    assert command == "swin-yolo compare --cfg a.yaml b.yaml --seeds 3 --cache --name 'x y'"
    assert called(*CFG)[2]["seeds"] == [0, 1, 2]
    name, args, given, _ = called(*WEIGHTS)
    assert (name, args) == ("compare_finished", ([Path("a.pt"), Path("b.onnx")], "demo.yaml"))
    assert "epochs" not in given and given["task"] == "val"


def test_the_verdict_and_the_files_are_printed(called, capsys, tmp_path):
    called(*CFG)
    folder = tmp_path / "runs" / "compare" / "exp"
    assert capsys.readouterr().out == f"\na verdict\n\nWritten to {folder}\n  {folder / 'compare.json'}\n"


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("swin_yolo.comparison.compare.compare_trained", interrupted)
    assert main(["compare", *CFG]) == 130
    assert capsys.readouterr().err == "swin-yolo compare: stopped; the same command goes on\n"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], r"expected either --cfg, models to train, or --weights, finished ones"),
        ([*CFG, *WEIGHTS], r"expected either --cfg, models to train, or --weights, finished ones"),
        ([*WEIGHTS, "--epochs", "3"], r"--epochs would not be read here, where only --weights, --trust, --data,"),
        ([*WEIGHTS, "--from", "p.pt"], r"--from would not be read here"),
        ([*CFG, "--trust"], r"--trust would not be read without --from or --weights"),
        ([*CFG, "--match", "none", "--match-to", "b"], r"--match-to would not be read without --match params or"),
        ([*CFG, "--from", "p.pt", "--match-to", "b"], r"--match-to would not be read without --match params or"),
        ([*CFG, "--seeds", "0", "0"], r"--seeds: expected different numbers, got 0 0"),
        ([*CFG, "--match", "size"], r"--match: invalid choice: 'size'"),
        ([*CFG, "--jobs", "0"], r"--jobs: expected a whole number of at least 1"),
        ([*CFG, "--data", "none"], r"none: no dataset YAML or folder"),
        ([*CFG, "--task", "dev"], r"has no split 'dev'"),
        (["--cfg", "none.yaml"], r"--cfg none.yaml: no such model YAML"),
        (["--cfg", "yolov5n.yaml", "--imgsz", "100"], r"--imgsz 100: expected a multiple of the model's stride 32"),
        (["--cfg", "yolov5n.yaml", "--from", "none.pt"], r"--from none.pt: no such file"),
        (["--cfg", "yolov5n.yaml", "--hyp", "none.yaml"], r"--hyp none.yaml: expected a YAML file of recipe keys"),
        (
            ["--cfg", "yolov5n.yaml", "--match-to", "b"],
            r"--match-to b: expected candidates' names, of which there are none",
        ),
        (["--weights", "none.pt"], r"--weights none.pt: no such file"),
        (["--weights", "set", "set/val"], r"--weights set: expected a file, or the folder of an exported model"),
        ([*CFG, "--seeds", "5000000000"], r"--seeds: expected a whole number from 0 to 4294967295"),
        (["--weights", "none.pt", "none.pt"], r"--weights: expected different files, got none.pt twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_on_stderr_and_leaves_nothing(argv, expected, tmp_path, monkeypatch, capsys):
    data = make_tiny(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    data_given = [] if "--data" in argv else ["--data", str(data)]
    assert main(["compare", *argv, *data_given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^swin-yolo compare: .*{expected}", line), line
    assert not (tmp_path / "runs").exists()


def test_images_that_are_missing_from_the_split_compared_on_are_named_before_anything_is_trained(
    tmp_path, monkeypatch, capsys
):
    data = make_tiny(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set" / "test" / "test_0.png").unlink()
    assert main(["compare", *CFG, "--data", str(data), "--task", "test"]) == 2
    assert "test.json: 1 of 1 images are not in" in capsys.readouterr().err and not (tmp_path / "runs").exists()
