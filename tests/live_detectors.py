"""Detectors whose output depends on the image and on the attention masks, as that of a trained one does.

A fresh model gives nearly the same boxes for every image, and one of plain noise saturates: that two of those agree
says nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.engine.model import build_model
from swin_yolo.nn import WindowAttention


def live_detector(cfg: str, *, nc: int = 3, head: str | None = None, seed: int = 0) -> DetectionModel:
    """A model in eval mode that keeps its signal: norms fitted to images, attention that prefers some tokens."""
    torch.manual_seed(seed)
    model = build_model(cfg, nc=nc, head=head)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Conv2d) and not module.weight.any():  # local terms start at zero
                nn.init.normal_(module.weight, std=0.3)
            if isinstance(module, WindowAttention):
                nn.init.normal_(module.relative_position_bias_table, std=2.0)
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # running statistics are the mean over the batches
        model.train()
        for i in range(2):
            model(image_of((96, 128), batch=2, seed=i))
    model.names = {i: f"class {i}" for i in range(nc)}
    model.args = {"imgsz": 64, "data": None}
    return model.eval()


def image_of(hw: tuple[int, int], *, batch: int = 1, seed: int = 0) -> Tensor:
    """(B, 3, H, W) patches of colour with some noise, 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 6, 6, generator=generator)
    fine = torch.rand(batch, 3, *hw, generator=generator)
    return 0.8 * F.interpolate(coarse, hw, mode="bilinear") + 0.2 * fine
