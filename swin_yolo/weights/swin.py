"""ImageNet Swin v1 weights into our classifiers and into the Swin rows of a YAML model."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_yolo.nn import LayerNorm2d, PatchEmbed, PatchMerging, SwinStage, SwinTransformer

from .report import LEFT_OVER, LOADED, MISSING, RESIZED, UNFIT, Entry, LoadReport, part_labels, shape_text
from .swin_layouts import Piece, swin_pieces

# Of the images that all published Swin weights were trained on, RGB in 0..1.
IMAGENET_STATS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

_TABLE = "attn.relative_position_bias_table"


@torch.no_grad()
def load_swin(
    weights: Mapping[str, Tensor],
    model: nn.Module,
    *,
    image_stats: tuple[Sequence[float], Sequence[float]] | None = None,
) -> LoadReport:
    """Load Swin weights of any of the four layouts into a model; what does not fit stays as it is.

    Rows of a YAML model are matched by what they are, in order: the first SwinStage gets stage 0, and a LayerNorm2d the
    norm of the stage that it reads. Relative position bias tables of another window size are resized.

    Args:
        weights: by the names they were published under.
        model: `nn.SwinTransformer`, or an ultralytics model with Swin rows.
        image_stats: (mean, std) of each input channel, where the weights were trained on images normalised by them and
            `model` sees images in 0..1: the patch embedding then does both. None changes nothing.

    Raises:
        UnsupportedSwinError: for Swin v2.
    """
    pieces, unknown = swin_pieces(weights)
    if image_stats is not None:
        pieces = with_image_stats(pieces, *image_stats)
    state = model.state_dict()
    ours = _our_names(model, pieces)
    other_heads = _blocks_of_other_heads(pieces, {name: state[target] for target, name in ours.items()})
    entries = []
    for target, tensor in state.items():
        name = ours.get(target)
        if name is None:
            entries.append(Entry(target, tuple(tensor.shape), MISSING))
            continue
        value, note = fit(name, pieces[name].tensor, tensor.shape, other_heads)
        if value is not None:
            tensor.copy_(value)
            if image_stats is not None and name.startswith("patch_embed.proj."):
                note = "normalises images in 0..1 itself"
        same_shape = tensor.shape == pieces[name].tensor.shape
        status = UNFIT if value is None else LOADED if same_shape else RESIZED
        entries.append(Entry(target, tuple(tensor.shape), status, note))
    used = set(ours.values())
    left = [source for name, piece in pieces.items() if name not in used for source in piece.sources]
    entries += [Entry(name, tuple(weights[name].shape), LEFT_OVER) for name in [*left, *unknown]]
    return LoadReport(tuple(entries), part_labels(model))


def fit(name: str, source: Tensor, shape: torch.Size, other_heads: Mapping[str, str]) -> tuple[Tensor | None, str]:
    """What to copy into a tensor of ours of that name and shape, None if nothing fits; and a note for the report."""
    block = name.partition(".attn.")[0]
    if ".attn." in name and block in other_heads:
        return None, other_heads[block]
    if source.shape == shape:
        return source, ""
    if name.endswith(_TABLE) and math.isqrt(len(source)) ** 2 == len(source):
        side, new = ((math.isqrt(n) + 1) // 2 for n in (len(source), shape[0]))
        return resize_bias_table(source, shape[0]), f"bias tables of {side}x{side} windows resized to {new}x{new}"
    return None, f"the file has {shape_text(source)}"


def resize_bias_table(table: Tensor, rows: int) -> Tensor:
    """A relative position bias table for another window size, resized bicubically for each head.

    The release resizes its tables in the same way; offset 0 stays offset 0.

    Args:
        table: ((2 w - 1)^2, nH).
        rows: (2 v - 1)^2 of the window size v wanted.

    Returns:
        (rows, nH); `table` itself where it has as many.
    """
    side, new = math.isqrt(len(table)), math.isqrt(rows)
    if side == new:
        return table
    maps = table.float().T.reshape(1, -1, side, side)  # 1 nH 2w-1 2w-1
    maps = F.interpolate(maps, size=(new, new), mode="bicubic", align_corners=False)
    return maps.flatten(2)[0].T.to(table.dtype)


def with_image_stats(pieces: Mapping[str, Piece], mean: Sequence[float], std: Sequence[float]) -> dict[str, Piece]:
    """Pieces whose patch embedding takes images in 0..1 where it took (image - mean) / std.

    Exact where the image is whole patches; in the padding of others, 0 is black instead of the mean.
    """
    pieces = dict(pieces)
    weight, bias = (pieces.get(f"patch_embed.proj.{k}") for k in ("weight", "bias"))
    if weight is None or bias is None or weight.tensor.shape[1] != len(mean):
        return pieces
    mean_, std_ = (torch.tensor(stats, dtype=torch.float64).view(1, -1, 1, 1) for stats in (mean, std))
    scaled = weight.tensor.double() / std_
    shifted = bias.tensor.double() - (scaled * mean_).sum((1, 2, 3))
    for name, old, new in (("weight", weight, scaled), ("bias", bias, shifted)):
        pieces[f"patch_embed.proj.{name}"] = Piece(new.to(old.tensor.dtype), old.sources)
    return pieces


def _our_names(model: nn.Module, pieces: Mapping[str, Piece]) -> dict[str, str]:
    """Name of the piece for each tensor of a model that there is one for."""
    parts = _parts(model)
    names = {}
    for target in model.state_dict():
        part = next((part for part in parts if target.startswith(f"{part}.")), None)
        if part is None:
            continue
        rest = target.removeprefix(part)
        if name := next((f"{name}{rest}" for name in parts[part] if f"{name}{rest}" in pieces), None):
            names[target] = name
    return names


def _parts(model: nn.Module) -> dict[str, list[str]]:
    """Parts of a model by the prefix of their tensors, and the pieces' prefixes that may go into each, best first."""
    if isinstance(model, SwinTransformer):
        found = (re.match(r"(stages|downsamples)\.\d+|\w+", name) for name in model.state_dict())
        return {match[0]: [match[0]] for match in found if match}
    rows: list[tuple[int, Any]] = list(enumerate(getattr(model, "model", [])))
    stages = {i: f"stages.{n}" for n, i in enumerate(i for i, layer in rows if isinstance(layer, SwinStage))}
    merges = {i: f"downsamples.{n}" for n, i in enumerate(i for i, layer in rows if isinstance(layer, PatchMerging))}
    parts = {f"model.{i}": [part] for i, part in (stages | merges).items()}
    if rows and isinstance(rows[0][1], PatchEmbed):
        parts["model.0"] = ["patch_embed"]
    last = max(stages, default=None)
    for i in (i for i, layer in rows if isinstance(layer, LayerNorm2d)):
        read = rows[i][1].f
        read = read if read >= 0 else i + read
        if read in stages:
            parts[f"model.{i}"] = [stages[read].replace("stages", "norms"), *(["norm"] if read == last else [])]
    return parts


def _blocks_of_other_heads(pieces: Mapping[str, Piece], targets: Mapping[str, Tensor]) -> dict[str, str]:
    """Blocks whose attention has another number of heads than the file's, and the note that says so.

    Their q, k and v have the same shape and would be cut into other heads.
    """
    notes = {}
    for name, target in targets.items():
        if name.endswith(_TABLE) and (heads := pieces[name].tensor.shape[1]) != target.shape[1]:
            notes[name.removesuffix(f".{_TABLE}")] = f"the file's attention has {heads} heads, not {target.shape[1]}"
    return notes
