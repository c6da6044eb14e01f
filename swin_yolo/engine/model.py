"""Building and loading detection models, and what they cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn.modules import OBB, Detect, Pose, Segment
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from swin_yolo import weights as checkpoints
from swin_yolo.errors import InputError, one_line
from swin_yolo.nn import with_anchor_head
from swin_yolo.nn.activation import activation_layer


@dataclass(frozen=True)
class Row:
    """One row of a model: its number, layer, source rows, output shape (H, W last), parameters and GFLOPs."""

    number: int
    layer: str
    source: int | list[int]
    shape: tuple[int, ...]
    parameters: int
    gflops: float


def build_model(
    cfg: str | Path, *, nc: int | None = None, channels: int = 3, head: str | None = None, verbose: bool = False
) -> DetectionModel:
    """A detection model with fresh weights.

    Args:
        cfg: model YAML: a file, or a name such as yolov5s-swin.yaml.
        nc: number of classes; None takes the YAML's.
        channels: of the input image.
        head: "anchor" puts YOLOv5's anchor-based head in the place of the YAML's; None takes the YAML's.
        verbose: print its rows.

    Raises:
        InputError: if there is no such YAML, or a row of it is wrong; names file and row.
    """
    yaml_dict = read_model_yaml(cfg)
    if nc is not None:
        yaml_dict["nc"] = nc
    if head == "anchor":
        yaml_dict = with_anchor_head(yaml_dict)
    try:
        model = DetectionModel(yaml_dict, ch=channels, nc=nc, verbose=verbose)
    except InputError:
        raise
    except Exception as e:  # whatever a wrong row of ultralytics' own layers makes its parser stumble over
        raise InputError(f"--cfg {cfg}: a row is wrong, ultralytics gives {type(e).__name__}: {one_line(e)}") from e
    _check_detects(f"--cfg {cfg}", model)
    return model


def read_model_yaml(cfg: str | Path) -> dict[str, Any]:
    """What a model YAML holds, with the scale that its name asks for as "scale", "" for none.

    Args:
        cfg: a file, or a name such as yolov5s-swin.yaml.

    Raises:
        InputError: if there is no such YAML, it is none of a model, or its activation is no layer.
    """
    try:
        yaml_dict = yaml_model_load(cfg)
    except FileNotFoundError as e:
        raise InputError(
            f"--cfg {cfg}: no such model YAML; ours are listed in the README, others are ultralytics'"
        ) from e
    except (AssertionError, OSError, ValueError) as e:  # another suffix, not readable, or not a mapping
        raise InputError(f"--cfg {cfg}: expected a model YAML: {one_line(e)}") from e
    if not all(isinstance(yaml_dict.get(part), list) for part in ("backbone", "head")):
        raise InputError(f"--cfg {cfg}: expected a model YAML with rows in 'backbone' and 'head'")
    if yaml_dict.get("activation") is not None:
        activation_layer(yaml_dict["activation"], f"--cfg {cfg}")
    return yaml_dict


def load_model(weights: str | Path, *, flag: str = "--weights", trust: bool = False) -> DetectionModel:
    """The model of a checkpoint, in fp32 on the CPU; no code of the file is run.

    Args:
        weights: .pt or .safetensors of ours or ultralytics', or .pt of the original YOLOv5.
        flag: where the user named it, for messages.
        trust: unpickle the file as PyTorch does, which runs whatever code it holds.

    Raises:
        InputError: if the file is missing or holds no detection model.
    """
    try:
        model = checkpoints.load_model(weights, trust=trust)
    except InputError as e:
        raise InputError(f"{flag} {e}") from e
    _check_detects(f"{flag} {weights}", model)
    return model


def _check_detects(where: str, model: nn.Module) -> None:
    """Raise InputError unless a model is a detector: it ends in Detect, with boxes and nothing else."""
    head = model.model[-1] if isinstance(model, DetectionModel) else model
    if not isinstance(head, Detect) or isinstance(head, Segment | Pose | OBB):
        raise InputError(f"{where}: expected a detection model, with Detect as its last row, got {type(head).__name__}")


def check_imgsz(imgsz: int | tuple[int, int], model: DetectionModel) -> None:
    """Raise InputError unless an image side, or (H, W), fits the model's strides."""
    stride = max(int(model.stride.max()), 32)
    for side in (imgsz,) if isinstance(imgsz, int) else imgsz:
        check_side("--imgsz", side, stride)


def check_side(flag: str, side: int, stride: int) -> None:
    """Raise InputError unless an image side, in pixels, is a multiple of a model's greatest stride."""
    if side % stride:
        nearest = max(round(side / stride), 1) * stride
        raise InputError(f"{flag} {side}: expected a multiple of the model's stride {stride}, such as {nearest}")


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
    """What each row of a parsed model gives and costs for one image of `imgsz`; see `count_gflops`.

    Raises:
        InputError: if `imgsz` does not fit the model's strides.
    """
    check_imgsz(imgsz, model)
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
