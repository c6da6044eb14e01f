"""Anchor heads and models of a few rows, and where the optional trained weights and frames are."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.nn import AnchorDetect
from swin_yolo.nn.anchor import ANCHORS

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
P3_TO_P5 = (8, 16, 32)


def head_of(strides: tuple[int, ...] = P3_TO_P5, *, nc: int = 3, ch: int = 4, anchors: list | None = None):
    """A head as a model makes it: strides set, then biases and anchors."""
    torch.manual_seed(0)
    head = AnchorDetect(nc, ANCHORS[strides] if anchors is None else anchors, [ch] * len(strides))
    head.stride = torch.tensor([float(stride) for stride in strides])
    head.bias_init()
    return head


def maps_of(head: AnchorDetect, hw: tuple[int, int], *, batch: int = 1) -> list[Tensor]:
    """Random maps for a head, of an image of H x W pixels."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(math.ceil(hw[0] / s), math.ceil(hw[1] / s)) for s in head.stride.tolist()]
    return [
        torch.randn(batch, conv.in_channels, *size, generator=generator)
        for conv, size in zip(head.m, sizes, strict=True)
    ]


def tiny_anchor_yaml(nc: int = 2) -> dict:
    """Model dictionary of a strided Conv for each of P1 to P5 and an anchor head on the last three."""
    rows = [[-1, 1, "Conv", [channels, 3, 2]] for channels in (8, 16, 32, 32, 32)]
    head = [[[2, 3, 4], 1, "AnchorDetect", ["nc", "anchors"]]]
    return {"nc": nc, "anchors": ANCHORS[P3_TO_P5], "backbone": rows, "head": head, "yaml_file": "own.yaml"}


def with_random_norms(model: DetectionModel) -> DetectionModel:
    """The model, with norms that do something: a fresh one's means are 0 and its variances 1."""
    generator = torch.Generator().manual_seed(2)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            for value in (m.weight.data, m.bias.data, m.running_mean, m.running_var):
                value += 0.1 * torch.rand(value.shape, generator=generator)
    return model
