import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swin_yolo.engine.run_folder import latest_checkpoint, locked, new_run_folder
from swin_yolo.errors import InputError


def test_a_free_name_is_taken_as_it_is_and_nothing_is_made(tmp_path):
    assert new_run_folder(tmp_path / "runs" / "train", "exp") == tmp_path / "runs" / "train" / "exp"
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_gets_the_next_number(tmp_path):
    (tmp_path / "exp").mkdir()
    assert new_run_folder(tmp_path, "exp") == tmp_path / "exp-2"
    (tmp_path / "exp-2").mkdir()
    assert new_run_folder(tmp_path, "exp") == tmp_path / "exp-3"


def test_a_taken_name_is_kept_where_that_is_asked_for(tmp_path):
    (tmp_path / "exp").mkdir()
    assert new_run_folder(tmp_path, "exp", exist_ok=True) == tmp_path / "exp"


def test_the_folder_holds_when_the_working_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new_run_folder(Path("runs"), "exp") == tmp_path / "runs" / "exp"


def test_a_project_that_is_a_file_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match=r"--project .*runs: expected a folder, .*runs is a file"):
        new_run_folder(tmp_path / "runs", "exp")


def test_a_project_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    def touch(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(InputError, match=rf"--project .*runs: cannot write into {tmp_path}: Permission denied"):
        new_run_folder(tmp_path / "runs", "exp")


def test_the_newest_last_pt_is_found(tmp_path):
    for name, time in (("exp", 100), ("exp-2", 300), ("exp-3", 200)):
        file = tmp_path / name / "weights" / "last.pt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (time, time))
    assert latest_checkpoint(tmp_path) == tmp_path / "exp-2" / "weights" / "last.pt"


def test_a_project_without_a_run_says_what_to_name(tmp_path):
    with pytest.raises(InputError, match=r"--resume: no run in .* has weights/last.pt; name one"):
        latest_checkpoint(tmp_path)


# Locks


ASK = """
import pathlib, sys
from swin_yolo.engine.run_folder import locked
with locked(pathlib.Path(sys.argv[1])):
    pass
"""


def test_a_folder_is_made_and_kept_from_others_until_it_is_let_go(tmp_path):
    folder = tmp_path / "runs" / "exp"
    with locked(folder):
        other = subprocess.run([sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, check=False)
        assert other.returncode == 1 and f"{folder}: another process is writing into this folder" in other.stderr
        with pytest.raises(InputError, match=r"wait until it has ended, or choose another --name"), locked(folder):
            pass
    with locked(folder):
        pass
    assert list(folder.iterdir()) == []


def test_one_who_waits_gets_the_folder_when_it_is_let_go(tmp_path):
    inside = locked(tmp_path)
    inside.__enter__()
    timer = threading.Timer(0.3, inside.__exit__, (None, None, None))
    timer.start()
    with locked(tmp_path, wait=60):
        pass
    timer.join()


def test_a_child_does_not_keep_the_folder_of_a_parent_that_has_ended(tmp_path):
    with locked(tmp_path):
        began, to_end = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            os.close(to_end[1])
            os.write(began[1], b"x")
            os.read(to_end[0], 1)  # until the parent lets it end
            os._exit(0)
        os.read(began[0], 1)
    try:
        with locked(tmp_path):
            pass
    finally:
        for end in (*began, *to_end):
            os.close(end)
        os.waitpid(child, 0)


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path), locked(tmp_path):
        pass
