import json
import re
from pathlib import Path

import pytest
import torch
from clips import read_video, small_checkpoint, write_video
from tiny import make_tiny
from weight_files import Attack

from swin_yolo.benchmark import SECTIONS, benchmark
from swin_yolo.benchmark.long_video import SHORT, drawn_video, long_video
from swin_yolo.benchmark.report import Table, figure, speed_table
from swin_yolo.benchmark.run import Settings, as_markdown
from swin_yolo.benchmark.video import THEIRS, VideoSettings, video
from swin_yolo.cli import benchmark as command
from swin_yolo.cli import main
from swin_yolo.engine import packages
from swin_yolo.errors import InputError
from swin_yolo.timing import Timing


def test_speeds_are_per_second_and_ratios_round_by_round():
    times = {"theirs": Timing((2.0, 4.0)), "ours": Timing((1.0, 1.0))}
    table = speed_table("t", times, against="theirs", amount=8, unit="frames")
    assert table.columns == ("", "frames/s", "times theirs")
    assert table.rows[0] == ("theirs", "2.67 (2.29 to 3.20)", "1")
    assert table.rows[1] == ("ours", "8.00 (8.00 to 8.00)", "3.00 (2.50 to 3.50)")
    assert table.figures["ours"] == {"seconds": (1.0, 1.0), "per_second": 8.0, "ratio": 3.0}


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.123"), (1.0, "1.00"), (12.345, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_three_digits_are_shown(value, text):
    assert figure(value) == text


def test_a_table_is_markdown():
    table = Table("Speed", ("", "x"), [("a", "1")], remarks=["Said."])
    assert table.as_markdown() == "### Speed\n\n|  | x |\n| --- | --- |\n| a | 1 |\n\nSaid."


def test_the_report_has_command_machine_and_versions():
    here = {"cpu": "C", "cores": 2, "memory_gib": 8.0, "gpu": None}
    text = as_markdown({"command": "python x", "machine": here, "versions": {"torch": "2"}}, [])
    assert "```bash\npython x\n```" in text and "C, 2 cores, 8.0 GiB; torch 2." in text


def test_every_way_goes_through_the_video_and_finds_the_same(tmp_path):
    weights = small_checkpoint(tmp_path / "small.pt")
    source = write_video(tmp_path / "clip.avi", 12)
    table = video(VideoSettings(weights, source, imgsz=64, rounds=1, exports=("torchscript",)))
    names = [row[0] for row in table.rows]
    assert names[0] == THEIRS and names[-4:] == [
        "ours, .pt, fp32",
        "ours, .pt",
        "ours, torchscript",
        "ours, .pt, default codec",
    ]
    assert all(table.figures[name]["per_second"] > 0 for name in names)
    (_, same) = table.remarks
    found = dict.fromkeys(re.findall(r" (\d+)[,.]", same.split("Boxes found: ")[1] + "."))
    assert len(found) == 1 and int(next(iter(found))) > 0, same


def test_a_checkpoint_that_would_run_code_is_not_given_to_ultralytics(tmp_path):
    canary = tmp_path / "canary"
    torch.save({"model": Attack(Path.touch, canary)}, tmp_path / "evil.pt")
    source = write_video(tmp_path / "clip.avi", 2)
    with pytest.raises(InputError, match=r"--weights .*evil.pt"):
        video(VideoSettings(tmp_path / "evil.pt", source, imgsz=64, rounds=1, exports=()))
    assert not canary.exists()


def test_a_drawn_video_is_as_long_and_large_as_asked(tmp_path):
    frames = read_video(drawn_video(tmp_path / "a.avi", 5, (64, 48)))
    assert len(frames) == 5 and frames[0].shape == (48, 64, 3)


def test_the_peak_of_a_longer_video_is_set_beside_that_of_a_short_one():
    table = long_video(SHORT + 20)
    assert [row[0] for row in table.rows] == ["200 frames", "220 frames"]
    assert 1e8 < table.figures["220"]["bytes"] < 1e10
    assert table.figures["growth"]["ratio"] == table.figures["220"]["bytes"] / table.figures["200"]["bytes"]


def test_tables_are_written_as_they_come(tmp_path, monkeypatch):
    def two(settings):
        yield Table("one", ("",), [])
        assert json.loads((tmp_path / "benchmark.json").read_text())["tables"][0]["title"] == "one"
        yield Table("two", ("",), [])

    monkeypatch.setitem(SECTIONS, "video", two)
    titles = [t.title for t in benchmark(["video"], Settings(), save_dir=tmp_path, command="c")]
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert titles == ["one", "two"] == [t["title"] for t in content["tables"]]
    assert content["command"] == "c" and content["machine"]["cores"] >= 1
    assert "### two" in (tmp_path / "benchmark.md").read_text()


# The command

FLAGS = {
    "sections": ["video"],
    "weights": ["w.pt"],
    "source": ["v.avi"],
    "imgsz": ["320"],
    "device": ["0"],
    "batches": ["2"],
    "windows": ["4"],
    "rounds": ["7"],
    "frames": ["500"],
    "cfg": ["yolov5n.yaml"],
    "per_row": [],
    "batch_size": ["4"],
    "epochs": ["5"],
    "data": ["set/tiny.yaml"],
    "train_imgsz": ["160"],
    "eval_images": ["100"],
    "objects365": [],
    "project": ["elsewhere"],
    "name": ["other"],
    "exist_ok": [],
}


def test_every_flag_is_tried_below():
    assert {action.dest for action in command.parser()._actions} - {"help"} == FLAGS.keys()
    assert set(command.SECTIONS) == SECTIONS.keys()


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_changes_what_is_called(flag, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "benchmark" / "exp").mkdir(parents=True)
    for name in ("w.pt", "v.avi"):
        (tmp_path / name).touch()
    make_tiny(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr("swin_yolo.benchmark.benchmark", lambda *args, **kwargs: calls.append((args, kwargs)) or [])
    assert main(["benchmark"]) == 0
    assert main(["benchmark", f"--{flag.replace('_', '-')}", *FLAGS[flag]]) == 0
    (without, with_flag) = calls
    assert with_flag[1].pop("command") != without[1].pop("command")
    assert with_flag != without


def test_a_single_epoch_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "--epochs", "1"]) == 2
    assert "--epochs 1: expected at least 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--sections layers --imgsz 100", "--imgsz 100: expected a multiple of the model's stride 32, such as 96"),
        ("--sections models --imgsz 100", "--imgsz 100: expected a multiple of the model's stride 32, such as 96"),
        ("--sections training --data none", "none: no dataset YAML or folder of that name"),
        ("--sections training --train-imgsz 90", "--train-imgsz 90: expected a multiple of the model's stride 32"),
        ("--sections training --cfg none.yaml", "--cfg none.yaml: no such model YAML"),
        ("--sections models --cfg yolov5n.yaml none.yaml", "--cfg none.yaml: no such model YAML"),
    ],
)
def test_what_a_section_cannot_use_is_said_before_a_folder_is_made(flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *flags.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("section", "package"),
    [
        ("layers", "timm"),
        ("layers", "transformers"),
        ("video", "onnxruntime"),
        ("video", "openvino"),
        ("long-video", "lap"),
    ],
)
def test_a_package_that_a_section_needs_is_named_before_a_folder_is_made(
    section, package, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("swin_yolo.benchmark.benchmark", lambda *args, **kwargs: [])
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == package else name)
    for flags in (["--sections", section], []):
        assert main(["benchmark", *flags]) == 2
        error = capsys.readouterr().err
        assert f"--sections {section}: needs {package}, which is not installed; pip install" in error
        assert error.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert main(["benchmark", "--sections", "index"]) == 0


def test_a_file_that_is_missing_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "--weights", "none.pt"]) == 2
    assert capsys.readouterr().err == "swin-yolo benchmark: --weights none.pt: no such file\n"
    assert not (tmp_path / "runs").exists()
