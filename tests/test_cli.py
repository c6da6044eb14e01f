import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tiny import ARGUMENTS, contents, tiny_set, trained, without_pictures
from ultralytics import __version__ as ultralytics_version

from swin_yolo.cli import HELP, compare, convert, detect, export, main, train, val
from swin_yolo.engine.trainer import CocoTrainer
from swin_yolo.scoring.average_precision import METRIC_NAMES

ROOT = Path(__file__).resolve().parents[1]
MODULES = {module.__name__.rsplit(".", 1)[1]: module for module in (train, val, detect, export, compare, convert)}
PARSERS = {name: module.parser for name, module in MODULES.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


def script(name: str, *argv: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


# End to end


def test_train_prints_the_twelve_numbers_and_every_file_it_drew(run):
    for name in (*METRIC_NAMES, "block", "bar"):
        assert re.search(rf"\b{name}\b", run.printed), name
    drawn = {str(f) for f in run.folder.iterdir() if f.suffix in {".png", ".jpg"}}
    assert {line.strip() for line in run.printed.splitlines() if line.startswith("  /")} == drawn


def test_val_scores_a_checkpoint(run, tmp_path, capsys):
    argv = ["val", "--weights", str(run.best), "--data", str(run.data), "--imgsz", "64", "--batch-size", "4"]
    argv += ["--device", "cpu", "--workers", "0", "--project", str(tmp_path), "--name", "mine", "--no-plots"]
    assert main(argv) == 0
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert {name: metrics[name] for name in METRIC_NAMES} == {name: run.metrics[name] for name in METRIC_NAMES}
    assert f"Written to {tmp_path / 'mine'}" in capsys.readouterr().out


def test_val_scores_a_finished_results_file(run, tmp_path, capsys):
    annotations = run.data.parent / "val.json"
    files = ["--predictions", str(run.folder / "predictions.json"), "--annotations", str(annotations)]
    assert main(["val", *files, "--project", str(tmp_path), "--no-verbose"]) == 0
    metrics = json.loads((tmp_path / "exp" / "metrics.json").read_text())
    assert {name: metrics[name] for name in METRIC_NAMES} == {name: run.metrics[name] for name in METRIC_NAMES}
    printed = capsys.readouterr().out
    assert f"{metrics['AP']:.3f}" in printed and "block" not in printed


def test_convert_and_back_scores_the_same(run, tmp_path, capsys):
    there, back = tmp_path / "best.safetensors", tmp_path / "back.pt"
    assert main(["convert", str(run.best), str(there)]) == main(["convert", str(there), str(back)]) == 0
    assert f"Written to {there}" in capsys.readouterr().out
    assert main(["convert", str(there), str(back)]) == 2
    assert main(["convert", str(there), str(back), "--exist-ok"]) == 0
    argv = ["--data", str(run.data), "--imgsz", "64", "--batch-size", "4", "--device", "cpu", "--workers", "0"]
    for weights in (there, back):
        assert main(["val", "--weights", str(weights), *argv, "--project", str(tmp_path), "--no-plots"]) == 0
    for folder in ("exp", "exp-2"):
        metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
        assert {name: metrics[name] for name in METRIC_NAMES} == {name: run.metrics[name] for name in METRIC_NAMES}


def test_a_checkpoint_is_scored_elsewhere_by_a_fresh_process_after_the_data_moved(run, tmp_path):
    data, weights = tmp_path / "moved" / "set", tmp_path / "weights of mine.pt"
    shutil.copytree(run.data.parent, data)
    shutil.copy(run.best, weights)
    argv = ["--weights", weights.name, "--data", f"moved/set/{run.data.name}", "--imgsz", "64", "--batch-size", "4"]
    done = script("val", *argv, "--device", "cpu", "--workers", "0", "--no-plots", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs" / "val" / "exp" / "metrics.json").read_text())
    assert metrics["AP"] == run.metrics["AP"]


def test_ctrl_c_ends_with_130_and_leaves_last_pt(data, tmp_path, monkeypatch, caplog):
    without_pictures(monkeypatch)

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(CocoTrainer, "optimizer_step", interrupted)
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in ARGUMENTS.items()]
    assert main(["train", "--cfg=yolov5n.yaml", f"--data={data}", f"--project={tmp_path}", *argv]) == 130
    assert (tmp_path / "exp" / "weights" / "last.pt").is_file()
    assert f"--resume {tmp_path / 'exp' / 'weights' / 'last.pt'}" in caplog.text


def test_the_script_prints_a_model_from_any_working_folder(tmp_path):
    done = script("train", "--cfg", "yolov5n-swin.yaml", "--summary", "--imgsz", "64", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ *8 +-1 +SwinStage +256x2x2", done.stdout, re.MULTILINE)
    assert re.search(r"^yolov5n-swin: [\d,]+ parameters, [\d.]+ GFLOPs at 64x64", done.stdout, re.MULTILINE)
    assert contents(tmp_path) == {}


def test_the_script_names_a_missing_file_on_one_line_and_ends_with_2(tmp_path):
    done = script("val", "--weights", "none.pt", "--data", str(ROOT / "data" / "none.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"swin-yolo val: {ROOT}/data/none.yaml: " + done.stderr.split(": ", 2)[2]
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr + done.stdout
    assert contents(tmp_path) == {}


def console(*argv: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from swin_yolo.cli import console; console()", *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_yolo_is_the_ultralytics_command_line(tmp_path):
    done = console("yolo", "version", cwd=tmp_path)
    assert done.returncode == 0 and ultralytics_version in done.stdout + done.stderr


def test_yolo_knows_our_layers(data, tmp_path):
    image = data.parent / "test" / "test_0.png"
    argv = ["predict", "model=yolov5n-c3str.yaml", f"source={image}", "imgsz=64", "device=cpu", f"project={tmp_path}"]
    assert console("yolo", *argv, cwd=tmp_path).returncode == 0
    assert (tmp_path / "predict" / "test_0.jpg").is_file()


# Help


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], HELP),
        (["train"], train.HELP),
        (["val"], val.HELP),
        (["convert"], convert.HELP),
        (["detect"], detect.HELP),
        (["export"], export.HELP),
        (["compare"], compare.HELP),
    ],
)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_starts_with_what_the_command_does(argv, text, flag, capsys):
    if argv:
        with pytest.raises(SystemExit) as ended:
            main([*argv, flag])
        assert ended.value.code == 0
    else:
        assert main([flag]) == 0
    assert capsys.readouterr().out.startswith(text.rstrip())


def test_without_a_command_help_is_printed(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith(HELP.rstrip())


@pytest.mark.parametrize("command", PARSERS)
def test_help_gives_every_flag_s_meaning_and_default(command, capsys):
    for action in PARSERS[command]()._actions:
        assert action.help and "%(default)" not in PARSERS[command]()._get_formatter()._expand_help(action)
        if action.option_strings and action.default not in (None, False, argparse.SUPPRESS, "", True):
            assert "default" in action.help, action.dest


# Flags


@pytest.fixture
def calls(monkeypatch):
    """What the commands call, in place of calling it: (name, positional arguments, keyword arguments)."""
    made = []

    def record(name):
        def call(*args, **kwargs):
            made.append((name, args, kwargs))
            return SimpleNamespace(score=None, save_dir=None, pictures=[])

        return call

    for module, names in (("train", ("train", "resume")), ("evaluate", ("evaluate", "evaluate_predictions"))):
        for name in names:
            monkeypatch.setattr(f"swin_yolo.engine.{module}.{name}", record(name))
    for command in (train, val):
        monkeypatch.setattr(command, "print_evaluation", record("print"))
    monkeypatch.setattr(train, "_summary", record("summary"))
    return made


TRAIN_FLAGS = {
    "cfg": ["yolov5n.yaml"],
    "data": ["bccd.yaml"],
    "head": ["anchor"],
    "weights": ["w.pt"],
    "trust": [],
    "hyp": ["h.yaml"],
    "epochs": ["3"],
    "batch_size": ["5"],
    "imgsz": ["96"],
    "device": ["cpu"],
    "workers": ["0"],
    "optimizer": ["SGD"],
    "cos_lr": [],
    "patience": ["7"],
    "freeze": ["0", "C3"],
    "layer_decay": ["0.5"],
    "cache": ["disk"],
    "seed": ["9"],
    "resume": ["last.pt"],
    "project": ["elsewhere"],
    "name": ["other"],
    "exist_ok": [],
    "summary": [],
}
VAL_FLAGS = {
    "data": ["bccd.yaml"],
    "task": ["test"],
    "imgsz": ["96"],
    "batch_size": ["5"],
    "device": ["cpu"],
    "workers": ["0"],
    "conf_thres": ["0.2"],
    "iou_thres": ["0.5"],
    "max_det": ["10"],
    "half": [],
    "precision": ["bf16"],
    "slice": ["320"],
    "trust": [],
    "no_save_json": [],
    "no_plots": [],
    "no_verbose": [],
    "project": ["elsewhere"],
    "name": ["other"],
    "exist_ok": [],
    "weights": ["other.pt"],
}


def flags_of(command: str) -> set[str]:
    return {action.dest for action in PARSERS[command]()._actions} - {"help"}


def test_every_flag_is_tried_below():
    assert flags_of("train") == TRAIN_FLAGS.keys()
    assert flags_of("convert") == {"source", "target", "trust", "exist_ok"}
    tried = {flag.removeprefix("no_") for flag in VAL_FLAGS} | {"predictions", "annotations", "overlap"}
    assert flags_of("val") == tried


def as_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def called(calls: list, argv: list[str]) -> list:
    calls.clear()
    assert main(argv) == 0
    return list(calls)


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [("train", *item) for item in TRAIN_FLAGS.items()] + [("val", *item) for item in VAL_FLAGS.items()],
)
def test_every_flag_changes_what_is_called(calls, tmp_path, monkeypatch, command, flag, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / command / "exp").mkdir(parents=True)
    base = [command, "--weights", "w0.pt"] if command == "val" else [command]
    without = called(calls, base)
    assert called(calls, [*base, as_flag(flag), *value]) != without


@pytest.mark.parametrize("flag", ["--img", "--img-size"])
def test_yolov5_s_names_of_the_image_size_work(calls, flag):
    assert called(calls, ["train", flag, "96"])[0][2]["imgsz"] == 96


def test_weights_of_no_name_are_fresh_as_in_yolov5(calls):
    assert called(calls, ["train", "--weights", ""]) == called(calls, ["train"])


def test_results_are_scored_from_their_two_files(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((name, args, kwargs), _) = called(calls, ["val", "--predictions", "p.json", "--annotations", "a.json"])
    assert (name, args, kwargs) == (
        "evaluate_predictions",
        (Path("p.json"), Path("a.json")),
        {"save_dir": tmp_path / "runs/val/exp"},
    )


def test_resume_alone_takes_the_newest_run(calls, tmp_path):
    last = tmp_path / "exp" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.touch()
    ((name, args, kwargs), _) = called(calls, ["train", "--resume", "--project", str(tmp_path), "--workers", "1"])
    assert (name, args, kwargs) == ("resume", (last,), {"data": None, "device": "", "workers": 1})


def test_the_default_data_is_the_demo_set(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert called(calls, ["train"])[0][1] == ("yolov5s-swin.yaml", "demo.yaml")


# Mistakes


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["tran"], r"swin-yolo: no command 'tran'; there are train, val, detect, .*, yolo"),
        (
            ["train", "--epoch", "many"],
            r"--epochs: expected a whole number of at least 1, got 'many'; see swin-yolo train",
        ),
        (["train", "--epochs", "0"], r"--epochs: expected a whole number of at least 1, got '0'"),
        (["train", "--workers", "-1"], r"--workers: expected a whole number of at least 0, got '-1'"),
        (["train", "--layer-decay", "2"], r"--layer-decay: expected a number from 0 to 1, got '2'"),
        (["train", "--head", "free"], r"--head: invalid choice: 'free'"),
        (["train", "--optimizer", "Adam"], r"--optimizer: invalid choice: 'Adam' \(choose from"),
        (["train", "--lr", "0.1"], r"unrecognized arguments: --lr 0.1"),
        (["train", "--cfg"], r"--cfg: expected one argument"),
        (["train", "--cfg", "yolov5n-swan.yaml", "--summary"], r"--cfg yolov5n-swan.yaml: no such model YAML"),
        (["train", "--cfg", "yolov5n.yaml", "--summary", "--imgsz", "100"], r"--imgsz 100: expected a multiple"),
        (["train", "--cfg", "window0.yaml", "--summary"], r"window0.yaml: row 0 \(SwinStage\): window_size must be"),
        (["train", "--data", "no/such/set"], r"no/such/set: no dataset YAML or folder"),
        (["train", "--hyp", "hyp.yaml"], r"--hyp hyp.yaml: unknown keys lr"),
        (["train", "--resume", "none.pt"], r"--resume .*none.pt: no such file"),
        (["train", "--resume", "--project", "empty"], r"--resume: no run in empty has weights/last.pt"),
        (["train", "--resume", "none.pt", "--epochs", "9"], r"--epochs would not be read here, where only --data, "),
        (["train", "--project", "hyp.yaml"], r"--project hyp.yaml: expected a folder"),
        (["convert", "none.pt"], r"the following arguments are required: target"),
        (["convert", "none.pt", "best.safetensors"], r"none.pt: no such file"),
        (["convert", "none.pt", "best.onnx"], r"best.onnx: expected a file to write that ends in"),
        (["convert", "none.pt", "hyp.yaml"], r"hyp.yaml: is there already; --exist-ok writes over it"),
        (["val"], r"expected either --weights, or --predictions with --annotations"),
        (["val", "--weights", "w.pt", "--predictions", "p", "--annotations", "a"], r"expected either --weights, or"),
        (["val", "--predictions", "p.json"], r"--predictions and --annotations go together"),
        (["val", "--annotations", "a.json"], r"--predictions and --annotations go together"),
        (["val", "--predictions", "p", "--annotations", "a", "--imgsz", "64"], r"--imgsz would not be read here"),
        (["val", "--predictions", "none.json", "--annotations", "none.json"], r"none.json: cannot be read as a COCO"),
        (["val", "--weights", "w.pt", "--conf-thres", "2"], r"--conf-thres: expected a number from 0 to 1, got '2'"),
        (["val", "--weights", "w.pt", "--half", "--device", "cpu"], r"\(--half\): expected a GPU"),
        (["train", "--summary", "--epochs", "3"], r"--epochs would not be read here, where only --cfg, --head, "),
        (["train", "--seed", "99999999999"], r"--seed: expected a whole number from 0 to 4294967295"),
        (["val", "--weights", "w.pt", "--overlap", "0.3"], r"--overlap would not be read without --slice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(argv, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "hyp.yaml", "lr: 1")
    rows = {"backbone": [[-1, 1, "SwinStage", [64, 0]]], "head": [[[0], 1, "Detect", ["nc"]]], "nc": 1}
    written(tmp_path, "window0.yaml", yaml.safe_dump(rows))
    before = contents(tmp_path)
    assert main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.search(expected, lines[0]), lines
    assert lines[0].startswith("swin-yolo")
    assert contents(tmp_path) == before


def test_a_mistake_that_a_loading_process_finds_is_one_line_as_well(data, tmp_path, monkeypatch, capsys):
    from swin_yolo.data.dataset import CocoDataset

    without_pictures(monkeypatch)
    monkeypatch.setattr("swin_yolo.data.coco.CocoIndex.check_images", lambda self: None)
    load_image = CocoDataset.load_image

    def broken(self, i, *args, **kwargs):
        self.im_files = [f"{file}.gone" for file in self.im_files]
        return load_image(self, i, *args, **kwargs)

    monkeypatch.setattr(CocoDataset, "load_image", broken)
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in (ARGUMENTS | {"workers": 1}).items()]
    assert main(["train", "--cfg=yolov5n.yaml", f"--data={data}", f"--project={tmp_path / 'runs'}", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"^swin-yolo train: .*train_\d+.png.gone: the image is no longer there; .*train.json lists it$", line
    )
    assert contents(tmp_path) == {}
