"""Parameter groups: what decays, and how fast each layer learns."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn, optim

from swin_yolo.nn import PatchEmbed, PatchMerging, SwinStage, WindowAttention

NORMS = tuple(v for k, v in vars(nn).items() if "Norm" in k and isinstance(v, type))

# Rows that ImageNet Swin weights fill, and so those that layer-wise decay slows.
SWIN_ROWS = (PatchEmbed, SwinStage, PatchMerging)


def make_optimizer(
    name: str, groups: list[dict[str, Any]], *, lr: float, momentum: float, fused: bool
) -> optim.Optimizer:
    """AdamW or SGD over `decay_groups`."""
    groups = [{**group, "lr": lr * group["lr_scale"]} for group in groups]
    if name == "AdamW":
        return optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=fused)
    return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True)


def decay_groups(
    model: nn.Module, decay: float, *, lr_scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Parameter groups, named as ultralytics' warm-up reads them: "weight" with decay, "bn" and "bias" without.

    Norms, biases and relative position bias tables do not decay, as in the Swin release.

    Args:
        model: any module.
        decay: of weight matrices and filters.
        lr_scales: of `layer_lr_scales`, by the prefix of parameter names; the longest prefix counts, others get 1.
    """
    groups: dict[tuple[float, str], list[nn.Parameter]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            scale = _scale_of(f"{prefix}.{name}", lr_scales or {})
            groups.setdefault((scale, _kind(name, module)), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": decay if kind == "weight" else 0.0,
            "param_group": kind,
            "lr_scale": scale,
        }
        for (scale, kind), parameters in groups.items()
    ]


def _kind(name: str, module: nn.Module) -> str:
    if name.endswith("bias"):
        return "bias"
    # Of WindowAttention itself, only the relative position bias table.
    return "bn" if isinstance(module, (*NORMS, WindowAttention)) else "weight"


def _scale_of(name: str, lr_scales: Mapping[str, float]) -> float:
    found = [prefix for prefix in lr_scales if name.startswith(prefix)]
    return lr_scales[max(found, key=len)] if found else 1.0


def layer_lr_scales(model: Any, layer_decay: float, rows: Collection[int]) -> dict[str, float]:
    """Learning rate factors that fall from the last pretrained Swin block to the patch embedding.

    A block that is k blocks before the first layer that is not pretrained learns at layer_decay ** k, as ELECTRA
    (arXiv 2003.10555, Sec. 3.1) and the detection recipes of pretrained Transformers have it. A patch merging goes
    with the block before it.

    Args:
        model: a YAML model.
        layer_decay: factor per block; 1 slows nothing.
        rows: numbers of the pretrained rows; those that are no `SWIN_ROWS` are left alone.

    Returns:
        Factor by the prefix of parameter names, such as {"model.1.blocks.0.": 0.25}.
    """
    if layer_decay == 1:
        return {}
    depths, depth = {}, 0
    for i, layer in enumerate(model.model):
        if i not in rows or not isinstance(layer, SWIN_ROWS):
            continue
        depths[f"model.{i}."] = depth
        for n in range(len(layer.blocks) if isinstance(layer, SwinStage) else 0):
            depth += 1
            depths[f"model.{i}.blocks.{n}."] = depth
    return {prefix: layer_decay ** (depth + 1 - d) for prefix, d in depths.items()}
