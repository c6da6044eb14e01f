"""A model as ONNX, OpenVINO, TorchScript or ncnn: written by ultralytics' Exporter, kept if it agrees with PyTorch."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.data.dataset import CocoDataset
from swin_yolo.engine.backend import exported_format, open_backend
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.export_check import DYNAMIC_SIZES, Difference, compare, warn_if_blind
from swin_yolo.engine.exporter import CocoExporter, Settings, calibration_set, prepared, quiet
from swin_yolo.engine.model import check_imgsz, load_model
from swin_yolo.engine.packages import nothing_installed, require
from swin_yolo.errors import InputError, one_line
from swin_yolo.nn import WindowAttention

# Modules that each format is written and checked with.
FORMATS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxslim", "onnxruntime"),
    "openvino": ("openvino",),
    "torchscript": (),
    "ncnn": ("ncnn", "pnnx"),
}

# Greatest relative difference from PyTorch. A weight in fp16 is off by up to 5e-4 of itself, and outputs were seen to
# be off by 2e-3. What int8 is worth is seen in AP and not in single outputs, so only nonsense is refused.
LIMITS = {"fp32": 1e-3, "fp16": 1e-2, "int8": float("inf")}


class ExportError(RuntimeError):
    """An export that failed, or gave a model that does not do what PyTorch does; nothing of it is kept."""


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        format: key of `FORMATS`.
        file: what was written, a file or a folder.
        differences: from PyTorch, at the export size first.
    """

    format: str
    file: Path
    differences: list[Difference]


def export(
    weights: str | Path,
    include: Sequence[str] = ("onnx",),
    *,
    imgsz: int | tuple[int, int] = 640,
    batch_size: int = 1,
    dynamic: bool = False,
    half: bool = False,
    int8: bool = False,
    nms: bool = False,
    opset: int | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
    trust: bool = False,
) -> Iterator[Exported]:
    """Export a checkpoint next to itself, one format after the other, and compare each with PyTorch.

    best.pt becomes best.onnx, best_openvino_model, best.torchscript or best_ncnn_model, as in ultralytics. Each takes
    the place of an earlier one only after it gave PyTorch's output, at `imgsz` and, if dynamic, at `DYNAMIC_SIZES`.

    Args:
        weights: .pt or .safetensors.
        include: keys of `FORMATS`.
        imgsz: image side, or (H, W).
        batch_size: images at once; more or fewer may still be predicted on, by way of several runs.
        dynamic: let the exported model take any batch and any size that its stride divides.
        half: weights in fp16.
        int8: weights and activations in 8 bits, but for Swin blocks; OpenVINO only, calibrated on the training images
            of `data`.
        nms: have NMS in the model, at ultralytics' thresholds (score 0.25, IoU 0.7, 300 boxes).
        opset: version of ONNX's operators; None takes the newest that ultralytics knows to be good.
        data: dataset YAML, folder or shipped name, for `int8`.
        device: to export on.
        trust: unpickle a .pt as PyTorch does, which runs whatever code it holds.

    Yields:
        Each finished export.

    Raises:
        InputError: if something asked for cannot be done; before anything is written.
        ExportError: if an export fails or differs from PyTorch; nothing of that one is kept.
    """
    weights = Path(weights)
    precision = "int8" if int8 else "fp16" if half else "fp32"
    hw = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    settings = Settings(hw, batch_size, dynamic, precision, nms, opset, data)
    chosen = choose_device(device)
    _check_settings(include, settings, half=half, on_gpu=chosen.type != "cpu")
    if exported_format(weights) is not None:
        raise InputError(f"--weights {weights}: expected a .pt or .safetensors, got a model that is exported already")
    model = load_model(weights, trust=trust)
    check_imgsz(hw, model)
    if "ncnn" in include and any(isinstance(m, WindowAttention) for m in model.modules()):
        raise InputError(f"--include ncnn: ncnn has no layers for window attention, which {weights} has")
    calibration = calibration_set(data, settings) if int8 and data is not None else None
    for name in include:
        yield _export_one(name, model, weights, settings, chosen, calibration)


def _check_settings(include: Sequence[str], settings: Settings, *, half: bool, on_gpu: bool) -> None:
    """Raise InputError unless the formats can do what is asked, and what they need is installed."""
    if unknown := [name for name in include if name not in FORMATS]:
        raise InputError(f"--include {' '.join(unknown)}: expected some of {', '.join(FORMATS)}")
    int8 = settings.precision == "int8"
    others = [name for name in include if name != "openvino"]
    cannot = {
        "--half and --int8: expected one of them, got both": half and int8,
        f"--int8: expected --include openvino alone, got {' '.join(include)}": int8 and others,
        "--int8: expected --data, a dataset to calibrate on": int8 and settings.data is None,
        "--data: would not be read without --int8, which calibrates on it": settings.data is not None and not int8,
        f"--opset: would not be read by {' '.join(include)}": settings.opset is not None and "onnx" not in include,
        "--half: expected a GPU in --device for torchscript, got the CPU": half
        and "torchscript" in include
        and not on_gpu,
        "--dynamic: ncnn models take one size": settings.dynamic and "ncnn" in include,
        "--nms: ncnn models cannot hold it": settings.nms and "ncnn" in include,
    }
    if wrong := [message for message, is_so in cannot.items() if is_so]:
        raise InputError(wrong[0])
    for name in include:
        require(f"--include {name}", *FORMATS[name])
    if int8:
        require("--int8", "nncf")


def _export_one(
    name: str,
    model: DetectionModel,
    weights: Path,
    settings: Settings,
    device: torch.device,
    calibration: CocoDataset | None,
) -> Exported:
    """Export to a folder of its own beside the weights, compare, and move what was written to its place."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{weights.stem}.", suffix=".unfinished", dir=weights.parent)
    except OSError as e:
        raise InputError(f"--weights {weights}: cannot write next to it: {e.strerror}; copy it elsewhere") from e
    with folder as unfinished:
        # A suffix that is nowhere else in the path: ultralytics replaces every occurrence of it in some formats.
        source = Path(unfinished) / f"{weights.stem}.swin_yolo_weights"
        try:
            with quiet(), nothing_installed():
                exporter = CocoExporter(name, settings, device, calibration)
                written = Path(exporter(prepared(model, source)))
                reference = exporter.reference(model)
        except Exception as e:  # whatever the converters of four formats stumble over
            raise ExportError(f"{name}: the export failed, {type(e).__name__}: {one_line(e)[:300]}") from e
        differences = _compare_all(name, written, reference, settings, device)
        file = weights.parent / written.name
        if file.is_dir():  # which, unlike a file, cannot be replaced in one step; it goes with the folder
            file.rename(Path(unfinished) / "earlier")
        written.replace(file)
    return Exported(name, file, differences)


def _compare_all(
    name: str, written: Path, reference: nn.Module, settings: Settings, device: torch.device
) -> list[Difference]:
    """Differences at all sizes; raises ExportError where one is over the limit, or the model cannot be run."""
    limit = LIMITS[settings.precision]
    try:
        with quiet():
            backend = open_backend(written, device=device)
            sizes = dict.fromkeys([settings.imgsz, *(DYNAMIC_SIZES if settings.dynamic else ())])
            differences = [compare(backend, reference, hw) for hw in sizes]
    except Exception as e:  # each runtime has exceptions of its own
        raise ExportError(f"{name}: the exported model does not run: {one_line(e)[:300]}") from e
    for d in differences:
        if not d.relative <= limit:
            raise ExportError(
                f"{name}: at {d.hw[0]} x {d.hw[1]} the exported model differs from PyTorch by {d.relative:.1e} of the "
                f"greatest value, more than {limit:.0e}; it is not kept"
            )
    warn_if_blind(differences, LIMITS["fp32"])
    return differences
