"""Where a run writes to."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultralytics.utils.files import increment_path

from swin_yolo.errors import InputError

try:
    import fcntl
except ImportError:  # Windows, where folders are not locked
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()  # descriptors of the folders locked


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


@contextmanager
def locked(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Make a folder, and keep other processes that ask for it out until the end, or until this process dies.

    Nothing is written for it. Where the file system has no locks, nobody is kept out.

    Args:
        folder: of a run.
        wait: seconds to wait for another process that has it.

    Raises:
        InputError: if another process has it still.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        _lock(descriptor, folder, time.monotonic() + wait)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise InputError(
                    f"{folder}: another process is writing into this folder; wait until it has ended, or choose "
                    "another --name"
                ) from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return None


def _let_go_in_child() -> None:
    """Processes that load images are forks, and would hold the lock of a parent that was killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go_in_child)
