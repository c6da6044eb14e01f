import os
from pathlib import Path

import pytest

from swin_yolo.engine.run_folder import latest_checkpoint, new_run_folder
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
