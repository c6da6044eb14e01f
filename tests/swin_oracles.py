"""What the Swin layers are held against: reference models with our weights, and attention by its definition."""

import math

import torch
from torch import Tensor, nn
from torchvision.models import swin_transformer as reference

from swin_yolo.nn import SwinBlock, SwinStage, SwinTransformer, WindowAttention

# Map sizes in tokens: smaller than a window, whole windows, padded on one axis or both, one window on one axis.
SIZES = [(1, 1), (7, 7), (14, 14), (15, 17), (5, 9), (7, 21), (20, 20), (40, 23)]


def by_size(size: tuple[int, ...]) -> str:
    """Test id of a size."""
    return "x".join(map(str, size))


def randomised(module: nn.Module, *, std: float = 0.2, seed: int = 0) -> nn.Module:
    """The module in float64 and eval mode, noise added to all its parameters, so that no bias or norm is trivial."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p += std * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return module


def random_map(*shape: int, seed: int = 1) -> Tensor:
    """float64 tensor of a standard normal."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def load_exactly(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Load weights into a reference model in float64 and eval mode; only its own index buffers may lack."""
    missing, unexpected = model.double().load_state_dict(weights, strict=False)
    buffers = ("relative_position_index", "attn_mask")
    assert not unexpected and all(name.endswith(buffers) for name in missing), (missing, unexpected)
    return model.eval()


def _torchvision_block_weights(block: SwinBlock) -> dict[str, Tensor]:
    renamed = {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3."}
    weights = {}
    for name, value in block.state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        weights[name] = value
    return weights


def torchvision_attention(attention: WindowAttention, shift_size: int) -> nn.Module:
    """torchvision's attention of a whole (B, H, W, C) map, with the weights of ours."""
    window = [attention.window_size] * 2
    theirs = reference.ShiftedWindowAttention(attention.dim, window, [shift_size] * 2, attention.num_heads)
    return load_exactly(theirs, attention.state_dict())


def torchvision_block(block: SwinBlock) -> nn.Module:
    """torchvision's (B, H, W, C) block with the weights of ours."""
    attention, hidden = block.attn, block.mlp.fc1.out_features
    theirs = reference.SwinTransformerBlock(
        attention.dim,
        attention.num_heads,
        [attention.window_size] * 2,
        [block.shift_size] * 2,
        mlp_ratio=hidden / attention.dim,
    )
    return load_exactly(theirs, _torchvision_block_weights(block))


def torchvision_stage(stage: SwinStage) -> nn.Module:
    """torchvision's (B, H, W, C) stage with the weights of ours; ours must have as many channels in as out."""
    return nn.Sequential(*(torchvision_block(block) for block in stage.blocks))


def torchvision_swin_weights(model: SwinTransformer) -> dict[str, Tensor]:
    """State dict of ours under torchvision's names."""
    weights = {}
    for ours, theirs in (("proj", "0"), ("norm", "2")):
        module = getattr(model.patch_embed, ours)
        weights |= {f"features.0.{theirs}.{k}": v for k, v in module.state_dict().items()}
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage.blocks):
            weights |= {f"features.{2 * i + 1}.{j}.{k}": v for k, v in _torchvision_block_weights(block).items()}
    for i, merging in enumerate(model.downsamples):
        weights |= {f"features.{2 * i + 2}.{k}": v for k, v in merging.state_dict().items()}
    for name in ("norm", "head"):
        weights |= {f"{name}.{k}": v for k, v in getattr(model, name).state_dict().items()}
    return weights


def timm_swin_weights(model: SwinTransformer) -> dict[str, Tensor]:
    """State dict of ours under timm's names."""
    weights = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "stages":
            name = f"layers.{rest}"
        elif part == "downsamples":
            i, _, rest = rest.partition(".")
            name = f"layers.{int(i) + 1}.downsample.{rest}"
        elif part == "head":
            name = f"head.fc.{rest}"
        weights[name] = value
    return weights


def attend_token_by_token(x: Tensor, attention: WindowAttention, shift_size: int) -> Tensor:
    """(S)W-MSA of one (H, W, C) map by its definition: each token over its true neighbours; no roll and no mask.

    The map is padded with zeros to whole windows, and zeros take part as keys. The grid of windows starts `shift_size`
    tokens into the map, so that the first and the last window of an axis are cut by its ends; an axis of one window is
    not shifted.
    """
    H, W, C = x.shape
    side, heads = attention.window_size, attention.num_heads
    head_dim = C // heads
    height, width = (math.ceil(size / side) * side for size in (H, W))
    shift_y, shift_x = (shift_size if size > side else 0 for size in (height, width))
    padded = torch.zeros(height, width, C, dtype=x.dtype)
    padded[:H, :W] = x
    qkv = (padded @ attention.qkv.weight.T + attention.qkv.bias).reshape(height, width, 3, heads, head_dim).tolist()
    table = attention.relative_position_bias_table.reshape(2 * side - 1, 2 * side - 1, heads).tolist()
    windows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y in range(height):
        for u in range(width):
            windows.setdefault(((y - shift_y) // side, (u - shift_x) // side), []).append((y, u))
    out = torch.zeros(H, W, C, dtype=x.dtype)
    for tokens in windows.values():
        for y, u in tokens:
            if y >= H or u >= W:
                continue
            for h in range(heads):
                q = qkv[y][u][0][h]
                logits = [
                    sum(a * b for a, b in zip(q, qkv[v][w][1][h], strict=True)) / math.sqrt(head_dim)
                    + table[y - v + side - 1][u - w + side - 1][h]
                    for v, w in tokens
                ]
                top = max(logits)
                weights = [math.exp(logit - top) for logit in logits]
                mean = [
                    sum(a * qkv[v][w][2][h][d] for a, (v, w) in zip(weights, tokens, strict=True)) / sum(weights)
                    for d in range(head_dim)
                ]
                out[y, u, h * head_dim : (h + 1) * head_dim] = torch.tensor(mean, dtype=x.dtype)
    return out @ attention.proj.weight.T + attention.proj.bias
