"""Building and loading detection models, and what they cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn.tasks import DetectionModel, load_checkpoint, yaml_model_load

from swin_yolo.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row of a model: its number, layer, source rows, output shape (H, W last), parameters and GFLOPs."""

    number: int
    layer: str
    source: int | list[int]
    shape: tuple[int, ...]
    parameters: int
    gflops: float


def build_model(cfg: str | Path, *, nc: int | None = None, channels: int = 3, verbose: bool = False) -> DetectionModel:
    """A detection model with fresh weights.

    Args:
        cfg: model YAML: a file, or a name such as yolov5s-swin.yaml.
        nc: number of classes; None takes the YAML's.
        channels: of the input image.
        verbose: print its rows.

    Raises:
        InputError: if there is no such YAML, or a row of it is wrong; names file and row.
    """
    try:
        yaml_dict = yaml_model_load(cfg)
    except FileNotFoundError as e:
        raise InputError(
            f"--cfg {cfg}: no such model YAML; ours are listed in the README, others are ultralytics'"
        ) from e
    if not isinstance(yaml_dict, dict) or not {"backbone", "head"} <= yaml_dict.keys():
        raise InputError(f"--cfg {cfg}: expected a model YAML with 'backbone' and 'head'")
    return DetectionModel(yaml_dict, ch=channels, nc=nc, verbose=verbose)


def load_model(weights: str | Path) -> DetectionModel:
    """The model of a checkpoint, in fp32 on the CPU.

    Raises:
        InputError: if the file is missing or holds no detection model.
    """
    file = Path(weights)
    if not file.is_file():
        raise InputError(f"--weights {weights}: no such file")
    try:
        model, _ = load_checkpoint(str(file))
    except Exception as e:
        raise InputError(f"--weights {weights}: not a checkpoint that can be read: {' '.join(str(e).split())}") from e
    return model.float()


def count_parameters(model: nn.Module) -> int:
    """All parameters, trained or frozen."""
    return sum(p.numel() for p in model.parameters())


def count_gflops(model: DetectionModel, imgsz: int | tuple[int, int]) -> float:
    """Floating point operations of one image, in 1e9, a multiply-add counted as two.

    Counted by PyTorch at the real size: attention included, which a small probe scaled up would miscount.

    Args:
        model: in any mode; left as it was.
        imgsz: (H, W) in pixels, or one number for both.
    """
    return sum(row.gflops for row in profile_rows(model, imgsz))


def profile_rows(model: DetectionModel, imgsz: int | tuple[int, int]) -> list[Row]:
    """What each row of a parsed model gives and costs for one image of `imgsz`; see `count_gflops`."""
    hw = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    counter = FlopCounterMode(display=False)
    rows: list[Row] = []

    def record(layer: Any, _: Any, output: Any) -> None:
        flops = counter.get_total_flops() - sum(seen)
        seen.append(flops)
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else ()
        name = layer.type.rsplit(".", 1)[-1]
        rows.append(Row(layer.i, name, layer.f, shape, count_parameters(layer), flops / 1e9))

    seen: list[int] = []
    first = next(model.parameters())
    channels = model.yaml.get("channels", 3)
    image = torch.zeros(1, channels, *hw, device=first.device, dtype=first.dtype)
    training = model.training
    handles = [layer.register_forward_hook(record) for layer in model.model]
    try:
        with torch.no_grad(), counter:
            model.eval()(image)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return rows
