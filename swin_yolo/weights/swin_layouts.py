"""The names that Swin v1 weights go by, and ours.

Four layouts are in use: the official release's (and its detectors', with norm0 to norm3), timm's, torchvision's and
Hugging Face transformers' (whose files have other names than its modules). Ours are those of `nn.SwinTransformer`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# The first convolution in each layout; what stands before it (backbone., swin., module.) stands before all names.
_FIRST = re.compile(r"(.*?)(?:patch_embed\.proj|features\.0\.0|embeddings\.patch_embeddings\.projection)\.weight")

# Computed from the window size, not trained.
_BUFFER = re.compile(r"(.*\.)?(relative_position_index|attn_mask)")

_VERSION_2 = ("logit_scale", "cpb_mlp", "continuous_position_bias_mlp")

_OUTER = [
    (r"patch_embed\.(proj|norm)\.(\w+)", r"patch_embed.\1.\2"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"embeddings\.norm\.(\w+)", r"patch_embed.norm.\1"),
    (r"(?:encoder\.)?layers\.(\d+)\.downsample\.(.+)", r"downsamples.\1.\2"),
    (r"norm([0-3])\.(\w+)", r"norms.\1.\2"),
    (r"(?:norm|layernorm)\.(\w+)", r"norm.\1"),
    (r"(?:head|head\.fc|classifier)\.(\w+)", r"head.\1"),
]

_IN_BLOCK = [
    (r"attention\.(?:self|relative_position_bias)\.(relative_position_bias_table)", r"attn.\1"),
    (r"attention\.(?:self\.(?=[qkv]))?([qkv])(?:uery|ey|alue|_proj)\.(\w+)", r"attn.\1.\2"),
    (r"attention\.(?:output\.dense|o_proj)\.(\w+)", r"attn.proj.\1"),
    (r"layernorm_before\.(\w+)", r"norm1.\1"),
    (r"layernorm_after\.(\w+)", r"norm2.\1"),
    (r"(?:intermediate\.dense|mlp\.0)\.(\w+)", r"mlp.fc1.\1"),
    (r"(?:output\.dense|mlp\.3)\.(\w+)", r"mlp.fc2.\1"),
    (r"((?:norm1|norm2|attn|mlp)\..+)", r"\1"),
]


class Piece(NamedTuple):
    """A tensor, and the names it had in the file: three where q, k and v were apart."""

    tensor: Tensor
    sources: tuple[str, ...]


class UnsupportedSwinError(ValueError):
    """Weights of another Swin than v1; the message completes "the file ..."."""


def is_swin(names: Iterable[str]) -> bool:
    """Whether weights of these names are a Swin's, in one of the four layouts."""
    names = set(names)
    stages = re.compile(r"(.*\.)?((encoder\.)?layers\.0\.blocks\.0|features\.1\.0)\..*relative_position_bias_table")
    return any(_FIRST.fullmatch(n) for n in names) and any(stages.fullmatch(n) for n in names)


def swin_pieces(weights: Mapping[str, Tensor]) -> tuple[dict[str, Piece], list[str]]:
    """Swin weights of any layout under our names.

    Args:
        weights: as published; `is_swin` of their names.

    Returns:
        Pieces by the names of `nn.SwinTransformer`, and norms.0 to norms.3 for the norms of the stages' maps; and the
        names that have none of ours. Index and mask buffers are in neither.

    Raises:
        UnsupportedSwinError: for Swin v2.
    """
    if any(part in name for name in weights for part in _VERSION_2):
        raise UnsupportedSwinError("holds a Swin v2, whose attention is another; Swin v1 was expected")
    prefix = next(match[1] for name in weights if (match := _FIRST.fullmatch(name)))
    pieces: dict[str, Piece] = {}
    unknown = []
    for name, tensor in weights.items():
        if _BUFFER.fullmatch(name):
            continue
        ours = _our_name(name.removeprefix(prefix))
        if ours is None:
            unknown.append(name)
        else:
            pieces[ours] = Piece(tensor, (name,))
    return _count_downsamples(_join_qkv(pieces)), unknown


def _our_name(name: str) -> str | None:
    """Our name of a tensor, q, k and v still apart and downsamples still numbered as the file does."""
    if match := re.fullmatch(r"(?:encoder\.)?layers\.(\d+)\.blocks\.(\d+)\.(.+)", name):
        inner = _renamed(match[3], _IN_BLOCK)
        return inner and f"stages.{match[1]}.blocks.{match[2]}.{inner}"
    if match := re.fullmatch(r"features\.(\d+)\.(.+)", name):
        return _torchvision_name(int(match[1]), match[2])
    if match := re.fullmatch(r"(?:.*\.)?hidden_states_norms\.stage([1-4])\.(\w+)", name):
        return f"norms.{int(match[1]) - 1}.{match[2]}"
    return _renamed(name, _OUTER)


def _torchvision_name(i: int, rest: str) -> str | None:
    """Torchvision numbers patch embedding, stage 0, merging 0, stage 1, ... in one list."""
    if i == 0:
        return _renamed(rest, [(r"0\.(\w+)", r"patch_embed.proj.\1"), (r"2\.(\w+)", r"patch_embed.norm.\1")])
    if i % 2 == 0:
        return f"downsamples.{i // 2 - 1}.{rest}"
    block, _, rest = rest.partition(".")
    inner = _renamed(rest, _IN_BLOCK)
    return inner and f"stages.{i // 2}.blocks.{block}.{inner}"


def _renamed(name: str, rules: list[tuple[str, str]]) -> str | None:
    matches = ((re.fullmatch(pattern, name), ours) for pattern, ours in rules)
    return next((match.expand(ours) for match, ours in matches if match), None)


def _join_qkv(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """Transformers keeps q, k and v apart; ours, as the release's, are one above the other."""
    joined = {}
    for name, piece in pieces.items():
        parts = [pieces.get(re.sub(r"attn\.[qkv]\.", f"attn.{part}.", name)) for part in "qkv"]
        if not re.search(r"attn\.[qkv]\.", name):
            joined[name] = piece
        elif ".q." in name and all(parts):
            found = [part for part in parts if part is not None]
            tensor = torch.cat([part.tensor for part in found])
            joined[name.replace(".q.", ".qkv.")] = Piece(tensor, tuple(s for part in found for s in part.sources))
    return joined


def _count_downsamples(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """Number the downsamples from 0: timm has them at the start of the next stage, the others at the end of one."""
    pattern = re.compile(r"downsamples\.(\d+)\.(.+)")
    first = min((int(match[1]) for name in pieces if (match := pattern.fullmatch(name))), default=0)
    return {
        pattern.sub(lambda match: f"downsamples.{int(match[1]) - first}.{match[2]}", name): piece
        for name, piece in pieces.items()
    }
