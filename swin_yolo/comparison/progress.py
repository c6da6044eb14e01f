"""How far all runs of a comparison are: one line that is drawn over in a terminal, plain lines elsewhere."""

import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from swin_yolo.errors import InputError
from swin_yolo.report.training_curves import read_results
from swin_yolo.video.progress import clock as as_clock

# Seconds between two drawings of the line in a terminal, and between two lines elsewhere.
DRAW_EVERY, LINE_EVERY = 1.0, 60.0
BAR_WIDTH = 20


@dataclass(frozen=True)
class Course:
    """How far a run is: the model that it trains, its epochs and those done, seconds of each epoch, and the last AP."""

    model: str
    epochs: int
    done: int = 0
    seconds: tuple[float, ...] = ()
    ap: float = math.nan


def course_of(folder: Path, model: str, epochs: int) -> Course:
    """The course of a run by its results.csv."""
    try:
        series = read_results(folder / "results.csv")
    except InputError:
        return Course(model, epochs)
    done = int(max(series["epoch"], default=0))
    return Course(
        model, epochs, done, tuple(epoch_seconds(series.get("time", []))), (series.get("AP") or [math.nan])[-1]
    )


def epoch_seconds(clock: Sequence[float]) -> list[float]:
    """Seconds of each epoch from results.csv's `time`, which counts from where the run started or was gone on with."""
    return [now - then if now > then else now for then, now in pairwise([0.0, *clock])]


def seconds_left(courses: Sequence[Course], jobs: int) -> float | None:
    """Time that all runs still take, `jobs` of them side by side; None before the first epoch has ended.

    A model of which no epoch is known is taken to be as fast as the others.
    """
    known: dict[str, list[float]] = {}
    for course in courses:
        known.setdefault(course.model, []).extend(course.seconds)
    per_epoch = {model: statistics.median(seconds) for model, seconds in known.items() if seconds}
    left = [
        (course.epochs - course.done) * per_epoch.get(course.model, statistics.mean(per_epoch.values()))
        for course in courses
        if per_epoch
    ]
    return max(sum(left) / jobs, max(left)) if left else None


class Display:
    """Shows how far a comparison is; may be called as often as one likes.

    Args:
        stream: to print to; None takes standard output.
        clock: gives seconds.
    """

    def __init__(self, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream or sys.stdout, clock
        self._terminal = self._stream.isatty()
        self._next = clock()

    def update(self, courses: Mapping[str, Course], running: Sequence[str], jobs: int) -> None:
        """Show where all runs are.

        Args:
            courses: by the name of the run.
            running: names of those that train now.
            jobs: how many train side by side.
        """
        self.show(lambda: overview(courses, running, jobs))

    def show(self, line: Callable[[], str]) -> None:
        """Draw a line that the next one takes the place of, if it is time to."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + (DRAW_EVERY if self._terminal else LINE_EVERY)
        if self._terminal:
            self._write(f"\r\x1b[K{line()[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._write(f"{line()}\n")

    def close(self) -> None:
        """Take the line away that was drawn last."""
        if self._terminal:
            self._write("\r\x1b[K")

    def counting(self, what: str) -> Callable[[int, int], None]:
        """A function that shows how many of something are done."""

        def show(done: int, total: int) -> None:
            self.show(lambda: f"{what}: {done}/{total}")

        return show

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._write(f"\r\x1b[K{line}\n" if self._terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def overview(courses: Mapping[str, Course], running: Sequence[str], jobs: int) -> str:
    """All runs in a line: share and number of epochs done, runs done, those that train now, and the time to go."""
    all_runs = list(courses.values())
    done, epochs = sum(course.done for course in all_runs), sum(course.epochs for course in all_runs)
    finished = sum(course.done >= course.epochs for course in all_runs)
    share = done / max(epochs, 1)
    left = seconds_left(all_runs, jobs)
    now = [_brief(name, courses[name]) for name in running]
    return ", ".join(
        [
            f"|{'#' * int(share * BAR_WIDTH):<{BAR_WIDTH}}| {share:4.0%} {done}/{epochs} epochs",
            f"{finished}/{len(all_runs)} runs",
            "time to go not known yet" if left is None else f"{as_clock(left)} of training to go",
            *now,
        ]
    )


def _brief(name: str, course: Course) -> str:
    ap = "" if math.isnan(course.ap) else f" AP {course.ap:.3f}"
    return f"{name} {course.done}/{course.epochs}{ap}"
