"""Detectors of a few thousand parameters, and checkpoints of them as trainings write them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

CONV_AND_SWIN = {
    "nc": 2,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "C3", [8]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 2, "SwinStage", [16, 4, 2.0, True]],
    ],
    "head": [[[1, 3], 1, "Detect", ["nc"]]],
}
CONV_ONLY = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C3", [8]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]],
}
# The article's backbone, narrow; the maps of strides 8, 16 and 32 are normed.
SWIN_BACKBONE = {
    "nc": 2,
    "backbone": [
        [-1, 1, "PatchEmbed", [16, 4]],
        [-1, 2, "SwinStage", [16]],
        [-1, 1, "PatchMerging", [32]],
        [-1, 2, "SwinStage", [32]],
        [-1, 1, "PatchMerging", [64]],
        [-1, 2, "SwinStage", [64]],
        [-1, 1, "PatchMerging", [128]],
        [-1, 2, "SwinStage", [128]],
        [3, 1, "LayerNorm2d", []],
        [5, 1, "LayerNorm2d", []],
        [7, 1, "LayerNorm2d", []],
    ],
    "head": [[[8, 9, 10], 1, "Detect", ["nc"]]],
}


def detector(yaml: dict[str, Any] = CONV_AND_SWIN, *, seed: int = 0, **changed: Any) -> DetectionModel:
    """A detector in eval mode whose parameters and norm statistics are all noise, its classes named."""
    torch.manual_seed(seed)
    model = DetectionModel({**deepcopy(yaml), **changed}, verbose=False).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand_like(tensor)
    model.names = {i: f"class {i}" for i in range(model.yaml["nc"])}
    model.args = {"imgsz": 64}
    return model


def outputs(model: nn.Module, hw: tuple[int, int] = (64, 96)) -> Tensor:
    """Predictions for one image of noise."""
    image = torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        return model(image)[0]


def write_training_checkpoint(file: Path, model: DetectionModel, **changed: Any) -> Path:
    """A checkpoint of a training under way, of ultralytics' form: averaged weights in fp16, optimiser state."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {
        "epoch": 3,
        "best_fitness": 0.25,
        "model": None,
        "ema": deepcopy(model).half(),
        "updates": 12,
        "optimizer": optimizer.state_dict(),
        "scaler": {},
        "train_args": {"imgsz": 64, "data": "demo.yaml", "save_dir": Path("runs") / "exp"},
        "version": "8.4.190",
        **changed,
    }
    torch.save(content, file)
    return file
