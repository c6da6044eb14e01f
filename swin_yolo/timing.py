"""Times of several pieces of work that are compared, taken in turns: A B C, A B C, ...

One machine is never as fast at two moments, so what is measured one after the other differs by that as well.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each round of one piece of work, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third; the only round's seconds twice where there is one."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third


def interleaved(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = float("inf"),
) -> dict[str, Timing]:
    """Run all pieces of work in turns.

    On an accelerator, each piece has to wait for its device itself.

    Args:
        work: by name.
        rounds: how often each is timed, at least 1.
        warmup: rounds before those, not timed.
        clock: gives seconds.
        seconds: no further round is started after this time, warm-up left out.
    """
    for _ in range(warmup):
        for run in work.values():
            run()
    taken: dict[str, list[float]] = {name: [] for name in work}
    begin = clock()
    for number in range(rounds):
        if number and clock() - begin >= seconds:
            break
        for name, run in work.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    return {name: Timing(tuple(times)) for name, times in taken.items()}


def ratio(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """How many times as fast ours is: the median over rounds of theirs / ours, and the quartiles of that.

    Of two times of one round, so that a machine that slows down for some rounds does not show.
    """
    ratios = Timing(tuple(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)))
    first, third = ratios.quartiles
    return ratios.median, first, third
