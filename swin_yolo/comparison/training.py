"""The runs of a comparison, trained side by side: each by the ordinary command in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from swin_yolo.engine.run_folder import locked
from swin_yolo.errors import InputError

from .progress import Display, course_of
from .run_state import State

# A run whose compare was killed ends within this time, and lets go of its folder.
WAIT_FOR_LOCK = 20.0
LOOK_EVERY = 0.5


@dataclass(frozen=True)
class Job:
    """A run: its model and folder, its epochs, and the command that brings it forward, None where it is finished."""

    name: str
    model: str
    folder: Path
    epochs: int
    command: tuple[str, ...] | None


@dataclass(frozen=True)
class Place:
    """Where one job at a time runs: its `--device`, and the CPU cores it keeps to; None for all."""

    device: str
    cores: tuple[int, ...] | None = None


def command_for(state: State, folder: Path, argv: Sequence[str], *, data: str, imgsz: int) -> tuple[str, ...] | None:
    """The command that brings a run forward, but for its device; None if it is finished.

    Args:
        state: of the run.
        folder: of the run.
        argv: flags of `train` for a run from the start, without its folder.
        data: dataset.
        imgsz: image side.
    """
    place = ("--project", str(folder.parent), "--name", folder.name, "--exist-ok")
    kept = [part for flag in ("--workers", "--batch-size") for part in (flag, argv[argv.index(flag) + 1])]
    if state is State.NEW:
        return ("train", *argv, *place)
    if state is State.STOPPED:
        return ("train", "--resume", str(folder / "weights" / "last.pt"), "--data", data, *kept[:2])
    if state is State.TRAINED:
        weights = str(folder / "weights" / "best.pt")
        return ("val", "--weights", weights, "--data", data, "--imgsz", str(imgsz), *kept, *place)
    return None


def places(jobs: int, device: str, *, gpus: int, cores: Sequence[int] | None) -> list[Place]:
    """Where jobs run side by side: GPUs in turn, or shares of the CPU's cores.

    Args:
        jobs: asked for; fewer where there are fewer cores.
        device: `--device`; several GPUs are several places if `jobs` is more than 1, and one (DDP) otherwise.
        gpus: number of GPUs that PyTorch sees.
        cores: that this process may use; None where it cannot be told.
    """
    if jobs == 1:
        return [Place(device)]
    if device != "cpu" and gpus:
        devices = device.split(",") if device else [str(i) for i in range(gpus)]
        return [Place(devices[i % len(devices)]) for i in range(jobs)]
    if cores is None:
        return [Place(device) for _ in range(min(jobs, os.cpu_count() or 1))]
    jobs = min(jobs, len(cores))
    return [Place(device, tuple(cores[i::jobs])) for i in range(jobs)]


def run_all(jobs: Sequence[Job], where: Sequence[Place], *, logs: Path, display: Display) -> None:
    """Bring all runs to their end; those that are finished only count in the display.

    Args:
        jobs: in the order that they are begun.
        where: one job at a time runs in each of these.
        logs: folder for what the runs print, NAME.log.
        display: shows how far they are.

    Raises:
        InputError: if a run failed, after all others have ended; names its log.
        KeyboardInterrupt: as it came; the runs were ended, and can be gone on with.
    """
    logs.mkdir(parents=True, exist_ok=True)
    courses = {job.name: course_of(job.folder, job.model, job.epochs) for job in jobs}
    waiting = [job for job in jobs if job.command is not None]
    free, running, failed = list(where), dict[str, _Running](), list[str]()
    try:
        while waiting or running:
            while waiting and free:
                job = waiting.pop(0)
                running[job.name] = _Running(job, free.pop(0), logs / f"{job.name}.log")
            for name, run in list(running.items()):
                courses[name] = course_of(run.job.folder, run.job.model, run.job.epochs)
                if (code := run.process.poll()) is not None:
                    free.append(running.pop(name).place)
                    display.say(f"{name} {'is done' if code == 0 else f'FAILED, see {run.log}'}")
                    if code:
                        del courses[name]  # there is no waiting for it
                        failed.append(f"{name} ended with code {code}: {last_line(run.log)} ({run.log})")
                    run.end()
            display.update(courses, list(running), len(where))
            if running:
                time.sleep(LOOK_EVERY)
    finally:
        display.close()
        for run in running.values():
            run.end()
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} runs failed, the first: {failed[0]}")


class _Running:
    """A job's process, which ends when this one does."""

    def __init__(self, job: Job, place: Place, log: Path):
        self.job, self.place, self.log = job, place, log
        assert job.command is not None
        with locked(job.folder, wait=WAIT_FOR_LOCK):
            pass  # the process takes it itself; here a run that another process trains is told before it starts
        command = [*job.command, *(["--device", place.device] if place.device else [])]
        cores = "all" if place.cores is None else ",".join(map(str, place.cores))
        with log.open("a", encoding="utf-8") as out:
            out.write(f"swin-yolo {' '.join(command)}\n")
            out.flush()
            self.process = _start([cores, *command], out)

    def end(self) -> None:
        """Close the pipe, at which the process ends if it has not."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _start(argv: Sequence[str], out: IO[str]) -> subprocess.Popen[bytes]:
    """`tied` in a group of its own, so that Ctrl-C reaches it through this process alone."""
    command = [sys.executable, "-m", "swin_yolo.comparison.tied", *argv]
    # Threads that spin while they wait take the cores of the runs beside them.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )


def last_line(log: Path) -> str:
    """The last line of a log that says something, shortened."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it printed nothing"
