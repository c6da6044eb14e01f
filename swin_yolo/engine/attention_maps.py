"""What window attention attends to, computed again from a layer's own input: the fused kernel keeps no weights.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `nW` windows per image, `N` tokens per window, `nH` heads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from swin_yolo.nn import SwinBlock, WindowAttention


@dataclass(frozen=True, eq=False)
class AttentionInput:
    """What a block's attention was given.

    Attributes:
        map_hw: (H, W) of the block's map.
        windows: (B nW, N, C).
        mask: (nW, N, N); None where nothing is shifted.
    """

    map_hw: tuple[int, int]
    windows: Tensor
    mask: Tensor | None


@contextmanager
def recorded_inputs(blocks: Sequence[SwinBlock]) -> Iterator[list[AttentionInput]]:
    """A list that fills with the attention inputs of `blocks`, in the order in which they run."""
    recorded: list[AttentionInput] = []
    sizes: list[tuple[int, int]] = []

    def note_size(block: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.append((args[0].shape[1], args[0].shape[2]))

    def note_windows(attention: nn.Module, args: tuple[Tensor, Tensor | None]) -> None:
        recorded.append(AttentionInput(sizes[-1], args[0].detach(), args[1]))

    handles = [block.register_forward_pre_hook(note_size) for block in blocks]
    handles += [block.attn.register_forward_pre_hook(note_windows) for block in blocks]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_weights(attention: WindowAttention, windows: Tensor, mask: Tensor | None = None) -> Tensor:
    """SoftMax(q k^T / sqrt(d) + bias + mask) of every window (Swin, Eq. 4, and Sec. 3.2 for the mask).

    Args:
        attention: the layer.
        windows: (B nW, N, C), as the layer takes them.
        mask: (nW, N, N), as the layer takes it.

    Returns:
        (B nW, nH, N, N): how much each token (third axis) takes of each token of its window (last axis); the last axis
        sums to 1.
    """
    q, k, _ = rearrange(attention.qkv(windows), "b n (three h d) -> three b h n d", three=3, h=attention.num_heads)
    logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + attention.relative_position_bias()
    if mask is not None:
        logits = logits + mask.repeat(len(windows) // len(mask), 1, 1)[:, None]
    return logits.softmax(-1)


@torch.no_grad()
def bias_by_offset(attention: WindowAttention) -> Tensor:
    """The relative position bias as maps around the token that attends.

    Returns:
        (nH, 2w - 1, 2w - 1): entry [dy + w - 1, dx + w - 1] is added where the token attended to lies dy rows below and
        dx columns to the right. The table itself has the offsets the other way round.
    """
    side = 2 * attention.window_size - 1
    return rearrange(attention.relative_position_bias_table, "(y x) h -> h y x", y=side).flip(1, 2)
