import re
from collections import Counter

import pytest
from clips import small_checkpoint, write_pictures

from swin_yolo.cli import detect, main
from swin_yolo.engine.detect import DetectionRun
from swin_yolo.engine.slicing import Slicing
from swin_yolo.video.writers import CODECS

FLAGS = {
    "trust": [],
    "imgsz": ["320"],
    "batch_size": ["7"],
    "device": ["cpu"],
    "half": [],
    "precision": ["bf16"],
    "conf_thres": ["0.3"],
    "iou_thres": ["0.6"],
    "max_det": ["9"],
    "classes": ["person", "2"],
    "vid_stride": ["3"],
    "track": [],
    "slice": ["640"],
    "nosave": [],
    "save_txt": [],
    "save_csv": [],
    "save_crop": [],
    "codec": ["mjpeg"],
    "line_thickness": ["4"],
    "hide_labels": [],
    "view_img": [],
    "reconnect": ["5"],
    "project": ["elsewhere"],
    "name": ["other"],
    "exist_ok": [],
}
BASE = ["detect", "--weights", "w.pt", "--source", "a.mp4"]


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What `detect` is called with, in place of calling it."""
    (tmp_path / "runs" / "detect" / "exp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    calls = []

    def record(*args, **kwargs):
        calls.append((args, kwargs))
        return DetectionRun(kwargs["save_dir"], 1, Counter(), [], False)

    monkeypatch.setattr("swin_yolo.engine.detect.detect", record)

    def call(*argv: str):
        assert main([*BASE, *argv]) == 0
        return calls.pop()

    return call


def test_every_flag_is_tried_below():
    tried = FLAGS.keys() | {"help", "weights", "source", "overlap"}
    assert {action.dest for action in detect.parser()._actions} == tried


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_changes_what_is_called(called, flag):
    assert called(f"--{flag.replace('_', '-')}", *FLAGS[flag]) != called()


def test_flags_mean_what_they_say(called):
    (_, given) = called("--imgsz", "384", "640", "--slice", "320", "--overlap", "0.1", "--track", "botsort")
    assert given["imgsz"] == (384, 640) and given["slicing"] == Slicing(320, 0.1) and given["track"] == "botsort"
    assert called()[1]["precision"] == "auto" and called("--half")[1]["precision"] == "fp16"
    assert called("--track")[1]["track"] == "bytetrack" and called("--slice", "320")[1]["slicing"].overlap == 0.2
    (args, given) = called("--source", "a.mp4", "b.jpg", "0")
    assert args[1] == ["a.mp4", "b.jpg", "0"] and given["imgsz"] is None and given["track"] is None


def test_the_codecs_of_the_flag_are_all_there_are():
    (action,) = (action for action in detect.parser()._actions if action.dest == "codec")
    assert list(action.choices) == list(CODECS)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--overlap", "0.1"], r"--overlap would not be read without --slice"),
        (["--slice", "64", "--overlap", "1"], r"--overlap: expected a number from 0 to below 1, got '1'"),
        (["--imgsz", "1", "2", "3"], r"--imgsz: expected one number, or height and width, got 3 numbers"),
        (["--vid-stride", "0"], r"--vid-stride: expected a whole number of at least 1"),
        (["--codec", "av1"], r"--codec: invalid choice: 'av1'"),
        (["--track", "sort"], r"--track: invalid choice: 'sort'"),
        (["--source", "none.mp4"], r"--source none.mp4: no such file"),
        (["--weights", "none.pt"], r"--weights .*none.pt: no such file"),
        (["--classes", "cat"], r"--classes cat: the model has no such class; its 2 are 0 class 0, 1 class 1"),
        (["--imgsz", "100"], r"--imgsz 100: expected a multiple of the model's stride 32"),
        (["--half"], r"\(--half\): expected a GPU"),
        (["--half", "--precision", "bf16"], r"--half is --precision fp16, got --precision bf16 too"),
        (["--precision", "int4"], r"--precision: invalid choice: 'int4'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(argv, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_checkpoint(tmp_path / "w.pt")
    write_pictures(tmp_path / "in", 1)
    assert main(["detect", "--weights", "w.pt", "--source", "in", "--device", "cpu", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^swin-yolo detect: .*{expected}", line)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        (DetectionRun("F", 3, Counter(a=2, b=5), [], False), 0, []),
        (DetectionRun("F", 3, Counter(), ["x.mp4: gone"], False), 1, ["x.mp4: gone", "1 fault; something is missing"]),
        (
            DetectionRun("F", 3, Counter(), ["x: gone", "y: gone"], True),
            130,
            ["interrupted; ", "x: ", "y: ", "2 faults"],
        ),
    ],
)
def test_the_exit_code_says_whether_something_is_missing(run, code, said, capsys):
    assert detect.report(run) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "3 frames, 7 boxes: 5 b, 2 a" if run.boxes else "3 frames, 0 boxes",
        "Written to F",
    ]
    lines = printed.err.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(f"swin-yolo detect: {text}") for line, text in zip(lines, said, strict=True))
