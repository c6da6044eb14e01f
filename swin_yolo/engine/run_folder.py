"""Where a run writes to."""

from pathlib import Path

from ultralytics.utils.files import increment_path

from swin_yolo.errors import InputError


def new_run_folder(project: Path, name: str, *, exist_ok: bool = False) -> Path:
    """`project`/`name`, or with -2, -3 ... behind it where that is taken; not made yet.

    Raises:
        InputError: if the folder could not be written to.
    """
    folder = increment_path(Path(project) / name, exist_ok=exist_ok).resolve()
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    if not parent.is_dir():
        raise InputError(f"--project {project}: expected a folder, {parent} is a file")
    try:
        probe = parent / f".{folder.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise InputError(f"--project {project}: cannot write into {parent}: {e.strerror}") from e
    return folder


def latest_checkpoint(project: Path) -> Path:
    """The newest last.pt of the runs in `project`.

    Raises:
        InputError: if there is none.
    """
    found = sorted(Path(project).glob("*/weights/last.pt"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise InputError(f"--resume: no run in {project} has weights/last.pt; name one: --resume LAST.PT")
    return found[-1]
