"""What a section of the benchmark measured, as JSON and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from swin_yolo.timing import Timing, ratio


@dataclass(frozen=True)
class Table:
    """Figures that belong together.

    Attributes:
        title: what was measured.
        columns: heads; the first column is what a row is of.
        rows: as many cells each as there are columns; text as it is to be read.
        figures: the same for programs: by row, then by name.
        remarks: sentences below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """For benchmark.json."""
        return asdict(self)

    def as_markdown(self) -> str:
        """For a page."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, *(line for remark in self.remarks for line in ("", remark))])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def speed_table(
    title: str, times: Mapping[str, Timing], *, against: str, amount: float, unit: str, remarks: Sequence[str] = ()
) -> Table:
    """How fast several ways to do the same are, and how many times as fast as one of them.

    Args:
        title: what is done.
        times: of each way, taken in turns.
        against: the way that the others are compared with.
        amount: how much is done in a round.
        unit: of the amount, as "frames".
        remarks: sentences below the table.
    """
    rows, figures = [], {}
    for name, timing in times.items():
        slow, fast = amount / timing.quartiles[1], amount / timing.quartiles[0]
        median, low, high = ratio(timing, times[against])
        speed = f"{figure(amount / timing.median)} ({figure(slow)} to {figure(fast)})"
        rows.append((name, speed, "1" if name == against else spread(median, low, high)))
        figures[name] = {"seconds": timing.seconds, "per_second": amount / timing.median, "ratio": median}
    rounds = len(times[against].seconds)
    said = (
        f"Median of {rounds} round{'s' if rounds > 1 else ''}, quartiles in brackets; ratios are taken round by round."
    )
    return Table(title, ("", f"{unit}/s", f"times {against}"), rows, figures, (said, *remarks))


def figure(value: float) -> str:
    """A number of three digits that count."""
    digits = max(0, 3 - len(str(int(abs(value))))) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def spread(median: float, low: float, high: float) -> str:
    """A ratio with its quartiles."""
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
