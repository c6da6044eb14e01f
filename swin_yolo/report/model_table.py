"""A model as text: what each row gives and costs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swin_yolo.engine.model import Row


def format_rows(rows: Sequence["Row"], *, name: str, imgsz: tuple[int, int]) -> str:
    """Rows, shapes, parameters and GFLOPs, and their sums.

    Args:
        rows: of the model.
        name: of the model.
        imgsz: (H, W) in pixels that shapes and GFLOPs are of.
    """
    lines = [_line(("row", "from", "layer", "shape", "parameters", "GFLOPs"))]
    for row in rows:
        shape = "x".join(map(str, row.shape[1:])) or "-"
        source = ",".join(map(str, row.source)) if isinstance(row.source, Iterable) else str(row.source)
        lines.append(_line((str(row.number), source, row.layer, shape, f"{row.parameters:,}", f"{row.gflops:.3f}")))
    parameters, gflops = sum(r.parameters for r in rows), sum(r.gflops for r in rows)
    total = f"{name}: {parameters:,} parameters, {gflops:.2f} GFLOPs at {imgsz[0]}x{imgsz[1]}"
    return "\n".join([*lines, total + " (a multiply-add counted as two, attention counted)"])


def _line(cells: tuple[str, ...]) -> str:
    number, source, layer, shape, parameters, gflops = cells
    return f"{number:>3}  {source:<10}{layer:<14}{shape:<14}{parameters:>13}{gflops:>10}"
