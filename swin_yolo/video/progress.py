"""How far a run is: a bar in a terminal, plain lines where the output goes elsewhere."""

import sys
import time
from threading import Lock
from typing import TextIO

BAR_WIDTH = 24
# Seconds between two drawings of the bar, and between two plain lines.
BAR_EVERY, LINE_EVERY = 0.1, 10.0


class Progress:
    """Counts frames and prints frames/s and the time to go.

    Args:
        total: frames to come; None if there is no saying.
        stream: to print to; None takes standard output.
    """

    def __init__(self, total: int | None, *, stream: TextIO | None = None):
        self.done = 0
        self._total, self._stream = total, stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._start = self._printed = time.monotonic()
        self._lock = Lock()  # remarks come from other threads

    def update(self) -> None:
        """Count a frame."""
        self.done += 1
        now = time.monotonic()
        if now - self._printed >= (BAR_EVERY if self._terminal else LINE_EVERY):
            self._printed = now
            self._print(self.line())

    def say(self, line: str) -> None:
        """Print a line of its own."""
        with self._lock:
            self._stream.write(f"{self._clear()}{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Print how far it came."""
        self.say(self.line())

    def line(self) -> str:
        """Where it is, in a line."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / seconds
        if not self._total:
            return f"{self.done} frames, {rate:.1f} frames/s, {clock(seconds)}"
        share = min(self.done / self._total, 1.0)
        bar = f"|{'#' * round(share * BAR_WIDTH):<{BAR_WIDTH}}| " if self._terminal else ""
        left = max(self._total - self.done, 0) / rate if rate else 0.0
        rest = f", {clock(left)} to go" if left else f", {clock(seconds)}"
        return f"{bar}{share:4.0%} {self.done}/{self._total} frames, {rate:.1f} frames/s{rest}"

    def _print(self, line: str) -> None:
        with self._lock:
            self._stream.write(f"{self._clear()}{line}" if self._terminal else f"{line}\n")
            self._stream.flush()

    def _clear(self) -> str:
        return "\r\x1b[K" if self._terminal else ""


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
