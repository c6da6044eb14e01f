import re
from pathlib import Path

import pytest
from clips import small_checkpoint, write_pictures
from small_detectors import detector, write_training_checkpoint

from swin_yolo.cli import main, visualize
from swin_yolo.engine.visualize import Visualization

FLAGS = {
    "trust": [],
    "at": ["3,4"],
    "click": [],
    "rows": ["6", "8"],
    "imgsz": ["320"],
    "device": ["cpu"],
    "project": ["elsewhere"],
    "name": ["other"],
    "exist_ok": [],
}
BASE = ["visualize", "--weights", "w.pt", "--source", "a.jpg"]


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What `visualize` is called with, in place of calling it."""
    (tmp_path / "runs" / "visualize" / "exp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    calls = []

    def record(*args, **kwargs):
        calls.append((args, kwargs))
        return Visualization(kwargs["save_dir"], (3, 4), {6: kwargs["save_dir"] / "row6.png"})

    monkeypatch.setattr("swin_yolo.engine.visualize.visualize", record)

    def call(*argv: str):
        assert main([*BASE, *argv]) == 0
        return calls.pop()

    return call


def test_every_flag_is_tried_below():
    tried = FLAGS.keys() | {"help", "weights", "source"}
    assert {action.dest for action in visualize.parser()._actions} == tried


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_changes_what_is_called(called, flag):
    assert called(f"--{flag.replace('_', '-')}", *FLAGS[flag]) != called()


def test_flags_mean_what_they_say(called):
    (args, given) = called("--at", "12,34", "--rows", "6", "8", "--imgsz", "384", "640", "--trust")
    assert args == (Path("w.pt"), "a.jpg") and given["trust"]
    assert (given["at"], given["rows"], given["imgsz"]) == ((12, 34), [6, 8], (384, 640))
    (_, given) = called()
    assert (given["at"], given["rows"], given["imgsz"], given["click"]) == (None, None, 640, False)
    assert called("--imgsz", "320")[1]["imgsz"] == 320


def test_the_pictures_are_named(called, capsys):
    called()
    folder = Path("runs/visualize/exp-2").resolve()
    assert capsys.readouterr().out == f"Pixel 3,4 of a.jpg\n  row 6: {folder / 'row6.png'}\n"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--at", "3"], r"--at: expected x,y in pixels, such as 120,80, got '3'"),
        (["--at", "3,b"], r"--at: expected x,y in pixels"),
        (["--at", "1,2,3"], r"--at: expected x,y in pixels"),
        (["--at", "64,0"], r"--at 64,0: expected a pixel of in"),
        (["--at=-1,0"], r"--at -1,0: expected a pixel of in"),
        (["--at", "1,2", "--click"], r"--at and --click both choose the pixel"),
        (["--rows", "-1"], r"--rows: expected a whole number of at least 0"),
        (["--rows", "1"], r"--rows 1: no Swin blocks there; the rows that have some are 3"),
        (["--imgsz", "1", "2", "3"], r"--imgsz: expected one number, or height and width, got 3 numbers"),
        (["--source", "none.jpg"], r"--source none.jpg: no such file"),
        (["--weights", "none.pt"], r"--weights .*none.pt: no such file"),
        (["--weights", "plain.pt"], r"--weights plain.pt: no row of this model has Swin blocks"),
        (["--weights", "w.onnx"], r"--weights w.onnx: expected a checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(argv, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_training_checkpoint(tmp_path / "w.pt", detector())
    small_checkpoint(tmp_path / "plain.pt")
    write_pictures(tmp_path / "in", 1)
    picture = "in/image00.png"
    assert main(["visualize", "--weights", "w.pt", "--source", picture, "--device", "cpu", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^swin-yolo visualize: .*{expected}", line)
    assert not (tmp_path / "runs").exists()


def test_the_script_is_the_command():
    script = Path(__file__).resolve().parents[1] / "tools" / "visualize.py"
    assert 'main(["visualize", *sys.argv[1:]])' in script.read_text()
