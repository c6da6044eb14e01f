"""Runs side by side, with commands that end at once in the place of trainings."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_yolo.cli.train import parser as train_parser
from swin_yolo.cli.val import parser as val_parser
from swin_yolo.comparison import training
from swin_yolo.comparison.progress import Display
from swin_yolo.comparison.run_state import State
from swin_yolo.comparison.training import Job, Place, command_for, last_line, places, run_all
from swin_yolo.engine.run_folder import locked
from swin_yolo.errors import InputError

ARGV = ["--cfg", "yolov5n.yaml", "--data", "d", "--workers", "3", "--batch-size", "5", "--seed", "1"]


# What brings a run forward


def test_a_new_run_is_trained_into_its_folder(tmp_path):
    name, *flags = command_for(State.NEW, tmp_path / "runs" / "a-seed1", ARGV, data="d", imgsz=64)
    args = train_parser().parse_args(flags)
    assert name == "train" and (args.cfg, args.seed, args.exist_ok) == ("yolov5n.yaml", 1, True)
    assert args.project / args.name == tmp_path / "runs" / "a-seed1"


def test_a_stopped_run_is_gone_on_with(tmp_path):
    name, *flags = command_for(State.STOPPED, tmp_path, ARGV, data="d", imgsz=64)
    args = train_parser().parse_args(flags)
    assert (name, args.resume, args.data, args.workers) == ("train", str(tmp_path / "weights" / "last.pt"), "d", 3)


def test_a_trained_run_is_scored_into_its_folder(tmp_path):
    name, *flags = command_for(State.TRAINED, tmp_path / "a", ARGV, data="d", imgsz=64)
    args = val_parser().parse_args(flags)
    assert (name, args.task, args.imgsz, args.batch_size, args.workers) == ("val", "val", 64, 5, 3)
    assert args.weights == tmp_path / "a" / "weights" / "best.pt" and args.project / args.name == tmp_path / "a"
    assert args.exist_ok


def test_a_finished_run_is_left_alone(tmp_path):
    assert command_for(State.FINISHED, tmp_path, ARGV, data="d", imgsz=64) is None


# Where runs run


@pytest.mark.parametrize(
    ("jobs", "device", "gpus", "cores", "expected"),
    [
        (1, "", 0, [0, 1, 2], [Place("")]),
        (1, "0,1", 2, [0, 1], [Place("0,1")]),
        (2, "", 0, [0, 1, 2], [Place("", (0, 2)), Place("", (1,))]),
        (2, "cpu", 4, [4, 7], [Place("cpu", (4,)), Place("cpu", (7,))]),
        (8, "", 0, [0, 1], [Place("", (0,)), Place("", (1,))]),
        (2, "", 2, [0, 1], [Place("0"), Place("1")]),
        (3, "1,3", 4, [0], [Place("1"), Place("3"), Place("1")]),
        (2, "0", 1, [0], [Place("0"), Place("0")]),
    ],
)
def test_jobs_get_gpus_in_turn_or_a_share_of_the_cores(jobs, device, gpus, cores, expected):
    assert places(jobs, device, gpus=gpus, cores=cores) == expected


def test_where_cores_cannot_be_given_out_jobs_share_them(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert places(8, "", gpus=0, cores=None) == [Place(""), Place("")]


# Running


@pytest.fixture
def printed():
    return io.StringIO()


@pytest.fixture
def run(tmp_path, monkeypatch, printed):
    """Run Python texts as jobs, by their names; gives the log of each."""

    def start(argv, out):
        cores, text, *flags = argv
        command = [sys.executable, "-c", text, cores, *flags]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)

    monkeypatch.setattr(training, "_start", start)
    monkeypatch.setattr(training, "LOOK_EVERY", 0.01)

    def go(texts, where=None):
        jobs = [Job(name, name, tmp_path / "runs" / name, 2, (t,) if t else None) for name, t in texts.items()]
        run_all(jobs, where or [Place("")], logs=tmp_path / "logs", display=Display(stream=printed))
        return {log.stem: log.read_text() for log in (tmp_path / "logs").iterdir()}

    return go


def test_every_run_is_run_in_order_with_a_log_of_its_own(run, printed):
    logs = run({"a": "print('one')", "b": "print('two')"})
    assert logs["a"].splitlines()[1:] == ["one"] and logs["b"].splitlines()[1:] == ["two"]
    assert logs["a"].startswith("swin-yolo print('one')\n")
    assert [line for line in printed.getvalue().splitlines() if "done" in line] == ["a is done", "b is done"]


def test_a_finished_run_is_not_run_and_counts(run, printed, tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "results.csv").write_text("epoch,time\n1,5\n2,10\n")
    assert run({"a": None, "b": "pass"}).keys() == {"b"}
    assert "2/4 epochs, 1/2 runs, 0:10 of training to go" in printed.getvalue()


def test_each_run_gets_the_device_and_the_cores_of_its_place(run):
    show = "import sys; print(sys.argv[1:])"
    logs = run({"a": show, "b": show}, [Place("0", (3, 5)), Place("1")])
    assert "['3,5', '--device', '0']" in logs["a"] and "['all', '--device', '1']" in logs["b"]


def test_as_many_runs_go_side_by_side_as_there_are_places(run, tmp_path):
    wait = f"import pathlib, time\npathlib.Path({str(tmp_path)!r}, %r).touch()\n" + (
        f"while not pathlib.Path({str(tmp_path)!r}, %r).exists(): time.sleep(0.01)"
    )
    run({"a": wait % ("a", "b"), "b": wait % ("b", "a")}, [Place(""), Place("")])  # neither ends without the other


def test_a_run_that_fails_is_named_when_the_others_have_ended(run, tmp_path):
    with pytest.raises(InputError) as failed:
        run({"a": "print('first')\nraise SystemExit('out of memory')", "b": "print('two')"})
    log = tmp_path / "logs" / "a.log"
    assert str(failed.value) == f"1 of 2 runs failed, the first: a ended with code 1: out of memory ({log})"
    assert "two" in (tmp_path / "logs" / "b.log").read_text()


def test_a_run_that_another_process_trains_is_not_begun(run, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WAIT_FOR_LOCK", 0.0)
    with locked(tmp_path / "runs" / "a"), pytest.raises(InputError, match=r"runs/a: another process is writing into"):
        run({"a": "pass"})


def test_when_it_is_stopped_its_runs_end(run, tmp_path, monkeypatch):
    """Ctrl-C comes while a run waits for its standard input to end, as `tied` does."""
    began = tmp_path / "began"
    text = f"import sys, pathlib\npathlib.Path({str(began)!r}).touch()\nsys.stdin.read()\nprint('ended')"

    def interrupted(seconds):
        if began.exists():
            raise KeyboardInterrupt
        time.sleep(seconds)

    monkeypatch.setattr(training, "time", SimpleNamespace(sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        run({"a": text, "b": "pass"})
    assert (tmp_path / "logs" / "a.log").read_text().splitlines()[-1] == "ended"
    assert not (tmp_path / "logs" / "b.log").exists()


def test_a_log_without_a_word_says_so(tmp_path):
    (tmp_path / "log").write_text(" \n\n")
    assert last_line(tmp_path / "log") == "it printed nothing"
    (tmp_path / "log").write_text("bar 1%\rbar 2%\n" + "x" * 999 + "\n \n")
    assert last_line(tmp_path / "log") == "x" * 300


# The process of a run


def test_a_run_keeps_to_its_cores_and_ends_when_its_starter_has_gone(tmp_path):
    core = min(os.sched_getaffinity(0))
    text = f"""
import os, sys, time
from swin_yolo.comparison import tied
import swin_yolo.cli
def command(argv):
    print(argv, sorted(os.sched_getaffinity(0)), flush=True)
    time.sleep(600)
swin_yolo.cli.main = command
tied.main({str(core)!r}, "train", "--epochs", "1")
"""
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == f"('train', '--epochs', '1') [{core}]\n"
            process.stdin.close()  # as the system does when its starter dies
            assert process.wait(timeout=60) != 0
        finally:
            process.kill()


def test_a_command_that_ends_ends_its_process_with_its_code(tmp_path):
    command = [sys.executable, "-m", "swin_yolo.comparison.tied", "all", "val", "--weights", "none.pt"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as process:
        out = process.stdout.read()
        assert process.wait(timeout=120) == 2 and "none.pt: no such file" in out and "Fatal" not in out
    assert list(Path(tmp_path).iterdir()) == []
