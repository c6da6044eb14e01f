import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from clips import cut_off, picture, read_video, small_checkpoint, write_pictures, write_video

from swin_yolo.cli import main
from swin_yolo.engine import detection_files, run_outputs
from swin_yolo.video import reading, writers
from swin_yolo.video.frames import Clip, Frame

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ["--imgsz", "64", "--device", "cpu", "--conf-thres", "0.68"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("weights") / "small.pt")


@pytest.fixture
def run(weights, tmp_path, capsys):
    """Run the command on a source; gives its exit code, the run folder and the lines on stderr."""

    def call(source: Path, *flags: str) -> tuple[int, Path, list[str]]:
        argv = ["detect", "--weights", str(weights), "--source", str(source), "--project", str(tmp_path / "runs")]
        code = main([*argv, *SETTINGS, *flags])
        return code, tmp_path / "runs" / "exp", capsys.readouterr().err.splitlines()

    return call


def frames_in(folder: Path) -> set[int]:
    return {entry["frame"] for entry in json.loads((folder / "detections.json").read_text())}


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if "unfinished" in file.name]


def test_of_a_video_that_breaks_off_the_output_is_whole_and_the_exit_code_1(run, tmp_path):
    file = cut_off(write_video(tmp_path / "clip.avi", 40), 0.5)
    code, folder, said = run(file)
    (output,) = folder.glob("clip.*")
    frames = len(read_video(output))
    assert 10 < frames < 30 and frames_in(folder) == set(range(frames))
    assert code == 1 and said == [
        f"swin-yolo detect: {file}: ends after {frames} of 40 frames, it is cut off or damaged; those are kept",
        "swin-yolo detect: 1 fault; something is missing in the output",
    ]


def test_files_of_a_folder_that_cannot_be_read_are_named_and_counted(run, tmp_path):
    files = write_pictures(tmp_path / "in", 3)
    files[1].write_bytes(b"nothing")
    (tmp_path / "in" / "zero.mp4").touch()
    code, folder, said = run(tmp_path / "in")
    assert code == 1 and {file.name for file in folder.glob("*.png")} == {"image00.png", "image02.png"}
    assert [line.split(": ")[1] for line in said[:2]] == [str(files[1]), str(tmp_path / "in" / "zero.mp4")]
    assert said[2] == "swin-yolo detect: 2 faults; something is missing in the output"
    assert {Path(e["file_name"]).name for e in json.loads((folder / "detections.json").read_text())} == {
        "image00.png",
        "image02.png",
    }


@pytest.mark.parametrize("frames", [None, 0])
def test_without_a_single_frame_nothing_is_written(run, tmp_path, frames):
    file = tmp_path / "clip.avi"
    file.touch() if frames is None else write_video(file, 0)
    code, folder, (line,) = run(file)
    assert code == 2 and line.startswith(f"swin-yolo detect: --source: not one frame could be read; {file}: skipped, ")
    assert not folder.exists()


def test_a_video_that_changes_size_goes_on_in_the_same_output(run, tmp_path, monkeypatch, capsys):
    def frames(capture, source, vid_stride, remarks):
        clip = Clip(source, fps=10.0)
        for i in range(12):
            yield Frame(picture(i, (48, 64) if i < 6 else (96, 80)), clip, i, i / 10)

    monkeypatch.setattr(reading, "_read_video", frames)
    code, folder, said = run(write_video(tmp_path / "clip.avi", 12))
    (output,) = folder.glob("clip.*")
    assert (code, said) == (0, []) and {image.shape for image in read_video(output)} == {(48, 64, 3)}
    entries = json.loads((folder / "detections.json").read_text())
    lowest = {i: max(e["bbox"][1] + e["bbox"][3] for e in entries if e["frame"] == i) for i in (0, 11)}
    assert lowest[0] <= 48.01 and lowest[11] > 60, "boxes are in pixels of their frame"


def test_a_full_disk_ends_the_run_with_everything_finished(run, tmp_path, monkeypatch):
    free = iter([1 << 40] * 9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(free, 0)))
    code, folder, said = run(write_video(tmp_path / "clip.avi", 30))
    assert code == 1 and frames_in(folder) == set(range(9)) and leftovers(folder) == []
    assert len(read_video(next(folder.glob("clip.*")))) == 9
    assert len(said) == 2 and said[0] == (
        f"swin-yolo detect: output: stopped after 9 frames: {folder}: the disk is full, 0 MiB are left; "
        "stopped while files can be closed"
    )


def limited(size: int) -> None:
    """No file of this process may be larger: writing fails then, as it does on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def script(weights: Path, source: Path, cwd: Path, *flags: str, **options) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "tools" / "detect.py"), "--weights", str(weights), "--source", str(source)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *SETTINGS, *flags], cwd=cwd, **pipes, **options)


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are POSIX")
def test_a_disk_that_is_full_without_warning_leaves_no_half_written_json(weights, tmp_path):
    source = write_video(tmp_path / "clip.avi", 60)
    size = 60_000  # detections.json alone is larger
    process = script(weights, source, tmp_path, "--nosave", preexec_fn=lambda: limited(size))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "File too large" in said and "detections.json" in said
    assert list((tmp_path / "runs" / "detect" / "exp").iterdir()) == []


def test_a_video_that_opencv_could_not_write_is_a_fault(run, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "frame_count", lambda capture: 3)
    code, folder, said = run(write_video(tmp_path / "clip.avi", 12))
    assert code == 1 and "holds 3 of the 12 frames written, is the disk full?" in said[0]
    assert frames_in(folder) == set(range(12)), "the rest is finished all the same"


def test_an_entry_that_cannot_be_written_whole_takes_the_json_with_it(tmp_path):
    with pytest.raises(OSError, match="not written"), detection_files.json_list(tmp_path / "a.json") as append:
        append([{"a": 1}])
        with pytest.raises(ValueError, match="not JSON compliant"):
            append([{"b": 2}, {"c": float("nan")}])
    assert list(tmp_path.iterdir()) == []


def test_a_json_list_is_json_whether_it_holds_something_or_not(tmp_path):
    for entries in ([], [{"a": 1}], [{"a": "ü"}, {"b": [1, 2]}]):
        with detection_files.json_list(tmp_path / "a.json") as append:
            for entry in entries:
                append([entry])
            append([])
        assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == entries


def test_an_exception_of_ours_leaves_no_json(run, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(run_outputs, "write_labels", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run(write_video(tmp_path / "clip.avi", 12), "--save-txt")
    folder = tmp_path / "runs" / "exp"
    assert not (folder / "detections.json").exists() and leftovers(folder) == []


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_finishes_the_files_and_ends_with_130(weights, tmp_path):
    source = write_video(tmp_path / "clip.avi", 4000)
    process = script(
        weights, source, tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    folder = tmp_path / "runs" / "detect" / "exp"
    deadline = time.monotonic() + 120
    while not list(folder.glob("clip.*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "interrupted; what was done until then is written" in said
    frames = len(read_video(next(folder.glob("clip.*"))))
    assert 0 < frames < 4000 and f"{frames} frames" in printed
    assert frames_in(folder) <= set(range(frames)) and leftovers(folder) == []


def test_a_folder_that_cannot_be_made_is_a_mistake(run, tmp_path, monkeypatch):
    def mkdir(self, **kwargs):
        raise PermissionError(13, "Permission denied")

    source = write_video(tmp_path / "clip.avi", 5)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    code, folder, (line,) = run(source)
    assert code == 2 and line == f"swin-yolo detect: --project: the folder {folder} cannot be made: Permission denied"


def test_without_a_screen_view_img_is_a_mistake(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    source = write_video(tmp_path / "clip.avi", 5)
    code, folder, (line,) = run(source, "--view-img")
    assert code == 2 and "--view-img: there is no screen here (DISPLAY is not set)" in line
    assert not folder.exists()


def test_a_screen_that_opencv_cannot_use_is_a_mistake_and_not_an_abort(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", "localhost:97")
    code, _, (line,) = run(write_video(tmp_path / "clip.avi", 5), "--view-img")
    assert code == 2 and "--view-img: OpenCV can open no window here" in line
