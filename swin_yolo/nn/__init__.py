"""Swin Transformer layers, and their place in ultralytics' model YAMLs."""

from .attention import WindowAttention, shifted_window_attention
from .c3str import C3STR
from .register import register
from .swin import (
    LayerNorm2d,
    PatchEmbed,
    PatchMerging,
    SwinBlock,
    SwinStage,
    SwinTransformer,
    set_drop_path,
    swin_b,
    swin_l,
    swin_s,
    swin_t,
)

__all__ = [
    "C3STR",
    "LayerNorm2d",
    "PatchEmbed",
    "PatchMerging",
    "SwinBlock",
    "SwinStage",
    "SwinTransformer",
    "WindowAttention",
    "register",
    "set_drop_path",
    "shifted_window_attention",
    "swin_b",
    "swin_l",
    "swin_s",
    "swin_t",
]
