"""YOLOv5 weights into our models: rows are matched by what they are, not by their number.

Taken are state dictionaries that name a model's rows `model.N.`: of the original repository (v6.0 to v7.0), of
ultralytics (YOLOv5u) and of this package.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from swin_yolo.errors import InputError

Row = Mapping[str, Tensor]  # tensors of a row by their names in it

LOADED, RESIZED, MISSING, LEFT_OVER = "loaded", "resized", "missing", "left over"

# Added to the likeness of two rows that have tensors of the same names: it tells apart rows that nothing fits into, as
# in a head for other classes, and weighs less than a single tensor that fits.
_SAME_KIND = 1e-3

_ROW_TENSOR = re.compile(r"(?:module\.)?(?:model\.)+(\d+)\.(.+)")
_LEVEL_TENSOR = re.compile(r"(m|cv2|cv3)\.(\d+)(\..+)")
_LEVEL_INPUT = re.compile(r"m\.\d+\.weight|cv2\.\d+\.0\.conv\.weight")


class Taken(NamedTuple):
    """What became of a tensor.

    Attributes:
        target: its name in the model; None where the model has no place for it.
        source: its name in the checkpoint; None where the checkpoint has nothing for it.
        status: "loaded"; "resized", where a part of it was loaded; "missing" (no source); "left over" (no target).
    """

    target: str | None
    source: str | None
    status: str


@torch.no_grad()
def load_yolov5(state_dict: Mapping[str, Tensor], model: nn.Module) -> list[Taken]:
    """Load what fits of a checkpoint's tensors into a model; the rest of the model stays as it is.

    - Rows that the model has besides shift nothing. A row that another layer stands in for gives it what the two share:
      a C3 gives a C3STR its cv1, cv2 and cv3, and a SwinStage nothing.
    - Weight, bias and norm of a convolution are taken together or not at all.
    - Into an anchor head for other classes go the box and objectness channels; of ultralytics' head, whatever has the
      same shape. Into a head of more or fewer levels go those that read as many channels, the last ones first.
    - Anchors are the checkpoint's, since its weights were trained with them.
    - For grey images, the first filters are summed over colours.

    Args:
        state_dict: tensors by name, in any precision.
        model: an ultralytics detection model, ours included.

    Returns:
        An entry for each tensor of the model, and one for each that was left over.

    Raises:
        InputError: if the tensors are no rows of a YOLO model, they are of another scale, or none of them fits.
    """
    source, target = rows_of(state_dict), rows_of(model.state_dict())
    if not source:
        raise InputError("expected the weights of a YOLO model, with tensors named model.0. to model.N.; found none")
    _check_scale(source, target)
    matched = match_rows(source, target)
    taken: list[Taken] = []
    for j, row in target.items():
        i = matched.get(j)
        taken += _missing(row, j) if i is None else _load_row(source[i], row, i, j)
    used = {entry.source for entry in taken}
    if used == {None}:
        raise InputError("none of the weights fit the model; expected those of the same scale (n, s, m, l or x)")
    names = [_full_name(i, name) for i, row in source.items() for name in row]
    names += [name for name in state_dict if not _ROW_TENSOR.fullmatch(name)]
    return taken + [Taken(None, name, LEFT_OVER) for name in names if name not in used]


def _check_scale(source: Mapping[int, Row], target: Mapping[int, Row]) -> None:
    """Raise InputError where both begin with a convolution, of unlike widths.

    Between scales, rows of one are as wide as later ones of the other, and would be taken for them.
    """
    first = [row.get("conv.weight") for row in (source.get(0, {}), target.get(0, {}))]
    widths = [len(weight) for weight in first if weight is not None]
    if len(widths) == 2 and widths[0] != widths[1]:
        raise InputError(
            f"expected weights of the model's scale (n, s, m, l or x), whose first convolution gives {widths[1]} "
            f"channels; these give {widths[0]}, take --cfg of their scale"
        )


def rows_of(state_dict: Mapping[str, Tensor]) -> dict[int, Row]:
    """The tensors of each row, rows in order; one without tensors is left out."""
    rows: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        if match := _ROW_TENSOR.fullmatch(name):
            rows.setdefault(int(match[1]), {})[match[2]] = tensor
    return dict(sorted(rows.items()))


def match_rows(source: Mapping[int, Row], target: Mapping[int, Row]) -> dict[int, int]:
    """Number of the source row for each target row that has one.

    Of all ways to pair rows without crossing, the one of the greatest likeness: a longest common subsequence with
    likeness in the place of equality.
    """
    rows, columns = list(source), list(target)
    like = [[_likeness(source[i], target[j]) for j in columns] for i in rows]
    best = [[0.0] * (len(columns) + 1) for _ in range(len(rows) + 1)]  # best[a][b]: of rows[a:] with columns[b:]
    for a in reversed(range(len(rows))):
        for b in reversed(range(len(columns))):
            best[a][b] = max(best[a + 1][b], best[a][b + 1], best[a + 1][b + 1] + like[a][b])
    matched, a, b = {}, 0, 0
    while a < len(rows) and b < len(columns):
        if best[a][b] == best[a + 1][b]:
            a += 1
        elif best[a][b] == best[a][b + 1]:
            b += 1
        else:
            matched[columns[b]] = rows[a]
            a, b = a + 1, b + 1
    return matched


def _likeness(source: Row, target: Row) -> float:
    """Share of the tensors of two rows that one can give to the other."""
    either = source.keys() | target.keys()
    fitting = len(_fit(source, target)) / len(either)
    return fitting + _SAME_KIND * (source.keys() == target.keys())


def _load_row(source: Row, target: Row, i: int, j: int) -> Iterator[Taken]:
    """Copy what fits of source row `i` into target row `j`."""
    fitting = _fit(source, target)
    for name, tensor in target.items():
        if name not in fitting:
            yield from _missing([name], j)
            continue
        source_name, value = fitting[name]
        tensor.copy_(value)
        status = LOADED if value.numel() == source[source_name].numel() else RESIZED
        yield Taken(_full_name(j, name), _full_name(i, source_name), status)
    if "anchors" in fitting and _has_anchors_twice(source):
        yield Taken(_full_name(j, "anchors"), _full_name(i, "anchor_grid"), LOADED)


def _missing(names: Mapping[str, Tensor] | list[str], row: int) -> list[Taken]:
    return [Taken(_full_name(row, name), None, MISSING) for name in names if not _is_counter(name)]


def _full_name(row: int, name: str) -> str:
    return f"model.{row}.{name}"


def _is_counter(name: str) -> bool:
    """Whether it is a norm's count of batches, which old checkpoints lack and nothing depends on."""
    return name.endswith("num_batches_tracked")


def _fit(source: Row, target: Row) -> dict[str, tuple[str, Tensor]]:
    """Of each tensor of the target row that the source row has something for: the name there, and what to copy."""
    levels = _common_levels(source, target)
    fitting = {}
    for source_name, tensor in source.items():
        name = _target_name(source_name, levels)
        value = _resized(tensor, target, name, source, levels) if name in target else None
        if value is not None:
            fitting[name] = source_name, value
    broken = {_unit(name) for name in target if name not in fitting and not _is_counter(name)}
    return {name: found for name, found in fitting.items() if _unit(name) not in broken}


def _unit(name: str) -> str:
    """What the tensors of one convolution and its norm share of their names."""
    return re.sub(r"((^|\.)(conv|bn))?(^|\.)[^.]+$", "", name)


def _common_levels(source: Row, target: Row) -> dict[int, int]:
    """Target level of each level of the source's head; empty where one of them is no head, or they have as many."""
    channels, j = _level_channels(target), len(_level_channels(target))
    levels: dict[int, int] = {}
    if len(_level_channels(source)) == len(channels):
        return levels
    for i, c in reversed(list(enumerate(_level_channels(source)))):
        if c in channels[:j]:
            levels[i] = j = j - 1 - channels[:j][::-1].index(c)
    return levels


def _level_channels(row: Row) -> list[int]:
    """Channels that each level of a head reads; empty for other rows."""
    return [tensor.shape[1] for name, tensor in row.items() if _LEVEL_INPUT.fullmatch(name) and tensor.ndim == 4]


def _target_name(name: str, levels: Mapping[int, int]) -> str:
    """A tensor's name after its level has got the target's number; of a level that the target lacks, no tensor's."""
    match = _LEVEL_TENSOR.fullmatch(name)
    return f"{match[1]}.{levels.get(int(match[2]))}{match[3]}" if levels and match else name


def _resized(source: Tensor, target_row: Row, name: str, source_row: Row, levels: Mapping[int, int]) -> Tensor | None:
    """What to copy into a tensor of the target row; `source` itself where shapes agree, None if nothing fits."""
    target = target_row[name]
    if source.shape == target.shape:
        return source
    if source.numel() == target.numel() == 1:  # a count that was once stored as a list of one
        return source.reshape(target.shape)
    if name == "anchors" and source.shape[1:] == target.shape[1:]:
        value = target.clone()
        for i, j in levels.items():
            value[j] = source[i]
        return value
    if "anchors" in source_row and "anchors" in target_row and source.shape[1:] == target.shape[1:]:
        return _with_other_classes(source, target, source_row["anchors"].shape[1], target_row["anchors"].shape[1])
    if name == "conv.weight" and target.shape[1] == 1 and source[:, :1].shape == target.shape:
        return source.sum(1, keepdim=True)
    return None


def _with_other_classes(source: Tensor, target: Tensor, source_anchors: int, target_anchors: int) -> Tensor | None:
    """Weight or bias of an anchor head: the source's box and objectness channels, the target's class channels."""
    if source_anchors != target_anchors:
        return None
    value = target.clone()
    per_anchor = (target_anchors, -1, *target.shape[1:])
    value.view(per_anchor)[:, :5] = source.view(per_anchor)[:, :5]
    return value


def _has_anchors_twice(row: Row) -> bool:
    """Whether v6.0's buffer `anchor_grid` is what it was made as: the anchors, times a stride for each level."""
    if "anchor_grid" not in row:
        return False
    stride = row["anchor_grid"].float().flatten(1) / row["anchors"].float().flatten(1)  # nl 2*na
    return torch.allclose(stride, stride[:, :1].expand_as(stride), rtol=1e-2)
