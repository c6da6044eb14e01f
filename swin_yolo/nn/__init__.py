"""Swin Transformer layers, and their place in ultralytics' model YAMLs."""

from .anchor import AnchorDetect, with_anchor_head
from .anchor_loss import AnchorLoss
from .attention import WindowAttention, shifted_window_attention
from .c3str import C3STR
from .patch import LayerNorm2d, PatchEmbed, PatchMerging
from .register import register
from .swin import SwinBlock, SwinStage, set_drop_path
from .swin_transformer import SwinTransformer, swin_b, swin_l, swin_s, swin_t

__all__ = [
    "C3STR",
    "AnchorDetect",
    "AnchorLoss",
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
    "with_anchor_head",
]
