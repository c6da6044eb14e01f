"""What became of each tensor when weights were loaded, and the table of it."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

LOADED, RESIZED, MISSING, UNFIT, LEFT_OVER = STATUSES = ("loaded", "resized", "missing", "unfit", "left over")


class Entry(NamedTuple):
    """What became of one tensor.

    Attributes:
        name: in the model; in the file for one that is left over.
        shape: in the model; in the file for one that is left over.
        status: "loaded"; "resized" (loaded after a change of shape that `note` says); "missing" (the file has nothing
            for it); "unfit" (the file's is of another shape, and the model keeps its fresh one); "left over" (the
            model has no place for it).
        note: what was changed, or what does not fit.
    """

    name: str
    shape: tuple[int, ...]
    status: str
    note: str = ""


@dataclass(frozen=True)
class LoadReport:
    """What became of the weights of a file in a model.

    Attributes:
        entries: one for each tensor of the model, in its order, then one for each that is left over in the file.
        labels: name of each part of the model, such as {"model.6": "6 SwinStage"}.
    """

    entries: tuple[Entry, ...]
    labels: Mapping[str, str]

    def count(self, status: str) -> int:
        """Tensors of a status."""
        return sum(entry.status == status for entry in self.entries)

    def share(self, part: str) -> float:
        """Of a part's numbers, how many are the file's, 0..1; parts as in `labels`."""
        sizes = [
            (math.prod(e.shape), e.status) for e in self.entries if e.status != LEFT_OVER and part_of(e.name) == part
        ]
        return sum(n for n, status in sizes if status in (LOADED, RESIZED)) / max(sum(n for n, _ in sizes), 1)


def part_of(name: str) -> str:
    """The row or stage of a tensor: model.6 of model.6.cv1.conv.weight, stages.0 of stages.0.blocks.1.norm1.bias."""
    match = re.match(r"\w+\.\d+(?=\.)|\w+", name)
    return match[0] if match else name


def part_labels(model: nn.Module) -> dict[str, str]:
    """Labels of a model's parts that have tensors: row number and layer for a YAML model, else the part itself."""
    parts = dict.fromkeys(part_of(name) for name in model.state_dict())
    layers = {part: model.get_submodule(part) for part in parts}
    return {
        part: f"{part.removeprefix('model.'):>3} {type(layer).__name__}" if part.startswith("model.") else part
        for part, layer in layers.items()
    }


def shape_text(tensor: Tensor) -> str:
    """Such as 96x3x4x4; "scalar" for one number."""
    return "x".join(map(str, tensor.shape)) or "scalar"


def format_report(report: LoadReport) -> str:
    """A line for each row or stage of the model with its counts, then what is left over in the file, then the sums."""
    width = max(map(len, report.labels.values()), default=0) + 2
    head = "".join(f"{text:>10}" for text in ("tensors", LOADED, RESIZED, MISSING, UNFIT))
    lines = [f"{'row':<{width}}{head}"]
    placed = [entry for entry in report.entries if entry.status != LEFT_OVER]
    for part, entries in _by_part(placed):
        lines.append(f"{report.labels.get(part, part):<{width}}{_counts(entries)}  {_notes(entries)}".rstrip())
    left = [entry for entry in report.entries if entry.status == LEFT_OVER]
    if left:
        parts = ", ".join(f"{part} ({len(entries)})" for part, entries in _by_part(left))
        lines.append(f"left over in the file: {parts}")
    return "\n".join([*lines, _sums(report)])


def _by_part(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(part_of(entry.name), []).append(entry)
    yield from parts.items()


def _counts(entries: list[Entry]) -> str:
    """Columns of a line; zeros are left blank, so that what was not loaded is seen."""
    counts = Counter(entry.status for entry in entries)
    cells = (len(entries), *(counts[status] for status in (LOADED, RESIZED, MISSING, UNFIT)))
    return "".join(f"{cell or '':>10}" for cell in cells)


def _notes(entries: list[Entry]) -> str:
    notes = list(dict.fromkeys(entry.note for entry in entries if entry.note))
    return "; ".join([*notes[:2], *([f"and {len(notes) - 2} more"] if len(notes) > 2 else [])])


def _sums(report: LoadReport) -> str:
    counts = ", ".join(f"{report.count(status)} {status}" for status in STATUSES)
    placed = [(math.prod(entry.shape), entry.status) for entry in report.entries if entry.status != LEFT_OVER]
    taken = sum(size for size, status in placed if status in (LOADED, RESIZED))
    return f"{counts}; {taken:,} of the model's {sum(size for size, _ in placed):,} numbers are the file's"
