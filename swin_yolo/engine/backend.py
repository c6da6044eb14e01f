"""What runs a model: PyTorch, ONNX Runtime, OpenVINO, TorchScript or ncnn, behind one call."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.backends.base import BaseBackend
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.engine.model import check_imgsz, load_model
from swin_yolo.engine.packages import nothing_installed, require
from swin_yolo.errors import InputError, one_line

# Modules that each exported format runs on, by how its name ends. The last two are folders.
RUNTIMES: dict[str, tuple[str, ...]] = {
    ".onnx": ("onnxruntime",),
    ".torchscript": (),
    "_openvino_model": ("openvino",),
    "_ncnn_model": ("ncnn",),
}


# What `open_backend` can be asked to compute in. bf16 and fp16 have 8 and 11 significant bits, fp32 has 24.
PRECISIONS = ("fp32", "bf16", "fp16")


class Backend:
    """A loaded detection model, whatever runs it.

    Attributes:
        names: class name of each class index.
        stride: H and W of the images must be multiples of it.
        fixed_hw: the one (H, W) that an exported model takes; None where any multiple of the stride will do.
        end2end: whether the output is final boxes, see `__call__`.
        device: where it computes, which the images must be on; exported models may have fallen back to the CPU.
        precision: one of `PRECISIONS` that it computes in, or "as exported".
        model: the PyTorch model as it was loaded, in fp32 on the CPU, to count its cost; None if exported.
    """

    def __init__(
        self, auto: AutoBackend, *, precision: str, model: DetectionModel | None = None, file: Path | None = None
    ):
        self._auto = auto.eval()
        self._file = file
        self.names: dict[int, str] = auto.names
        self.stride = int(auto.stride)
        fixed = model is None and not auto.dynamic
        self.fixed_hw: tuple[int, int] | None = (int(auto.imgsz[0]), int(auto.imgsz[1])) if fixed else None
        self.end2end = bool(auto.end2end)
        self.device = torch.device(auto.device)
        self.precision = precision
        self.model = model
        self._autocast = model is not None and precision == "bf16"

    @property
    def rows(self) -> nn.ModuleList:
        """The rows of the PyTorch model as it runs, convolutions fused; an exported model has none."""
        return nn.ModuleList() if self.model is None else self._auto.backend.model.model

    def expect_one_size(self) -> None:
        """Be fast on images of one size, at the price of a second whenever it changes.

        OpenVINO then compiles a model for any size anew for the size that comes, which takes 10 to 25% off the time of
        an image. Other runtimes are as they were.
        """
        if self._file is None or self.fixed_hw is not None or exported_format(self._file) != "_openvino_model":
            return
        openvino: Any = importlib.import_module("openvino")
        xml = next(self._file.glob("*.xml"))
        # ultralytics' own way for models that OpenVINO cannot run at any size.
        self._auto.backend.read_model = partial(openvino.Core().read_model, model=str(xml))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Predict.

        Args:
            images: (B, 3, H, W) RGB, 0..1, on `device`, of any floating type; any B.

        Returns:
            (B, 4 + nc, N): box centre and size in pixels, class scores in 0..1, as ultralytics' non_max_suppression
            takes them. Where `end2end`, (B, n, 6): corners, score and class index of the boxes that are left, by
            falling score, rows of zeros behind them; non_max_suppression takes those too, given `end2end=True`.

        Raises:
            ValueError: if the model takes one size and this is another.
        """
        if self.fixed_hw not in (None, tuple(images.shape[2:])):
            raise ValueError(f"expected images of {self.fixed_hw} (H, W), got {tuple(images.shape[2:])}")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            output = self._auto(images.half() if self._auto.fp16 else images.float())
        return output[0] if isinstance(output, list | tuple) else output


def open_backend(
    weights: str | Path,
    *,
    device: torch.device,
    precision: str = "fp32",
    trust: bool = False,
    imgsz: int | tuple[int, int] | None = None,
) -> Backend:
    """Load a model to predict with.

    Args:
        weights: .pt or .safetensors, read without running code of the file; or what `swin-yolo export` and ultralytics
            write: .onnx, .torchscript, *_openvino_model, *_ncnn_model. A .torchscript is a program that PyTorch runs.
        device: to compute on.
        precision: one of `PRECISIONS`. fp16 is for a .pt or .safetensors on a GPU, bf16 for those and for OpenVINO;
            other exported models compute as they were exported.
        trust: unpickle a .pt as PyTorch does, which runs whatever code it holds.
        imgsz: image side, or (H, W), that is going to be asked for; checked.

    Raises:
        InputError: if the file is missing or is no such model, if what runs it is not installed, or if `precision` or
            `imgsz` do not go with it.
    """
    if precision == "fp16" and device.type == "cpu":
        raise InputError("--precision fp16 (--half): expected a GPU to infer in fp16 on, got the CPU")
    if exported_format(weights) is None:
        return model_backend(_load(weights, trust=trust, imgsz=imgsz), device=device, precision=precision)
    if precision not in exported_precisions(weights):
        raise InputError(
            f"--precision {precision}: expected a .pt or .safetensors, got {weights}, whose precision is that of its "
            "export"
        )
    return _open_exported(Path(weights), device, precision, imgsz)


def open_every(
    weights: str | Path, *, device: torch.device, trust: bool = False, imgsz: int | tuple[int, int] | None = None
) -> dict[str, Backend]:
    """`open_backend` in every precision, and of a checkpoint in both memory layouts, that this device is good at.

    Returns:
        By a name such as "bf16, channels last"; those in fp32 first.
    """
    if exported_format(weights) is not None:
        return {name: _open_exported(Path(weights), device, name, imgsz) for name in exported_precisions(weights)}
    model = _load(weights, trust=trust, imgsz=imgsz)
    fast = ("fp16",) if device.type == "cuda" else ("bf16",) if _bf16_by_onednn() else ()
    return {
        f"{precision}, channels {'last' if last else 'first'}": model_backend(
            model, device=device, precision=precision, channels_last=last
        )
        for precision in ("fp32", *fast)
        for last in (True, False)
    }


def _bf16_by_onednn() -> bool:
    """Whether oneDNN has bf16 on this CPU: without it, a convolution in bf16 takes many times as long."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def model_backend(
    model: DetectionModel, *, device: torch.device, precision: str = "fp32", channels_last: bool | None = None
) -> Backend:
    """PyTorch itself, on a copy of a model whose convolutions are fused with their norms.

    Args:
        model: left as it is.
        device: to compute on.
        precision: one of `PRECISIONS`.
        channels_last: memory layout of weights and maps; None takes what ultralytics does on such a device.
    """
    auto = AutoBackend(
        deepcopy(model), device=device, fp16=precision == "fp16", verbose=False, channels_last=channels_last
    )
    if precision == "bf16":
        _decode_in_fp32(auto.backend.model.model[-1])
    return Backend(auto, precision=precision, model=model)


def _decode_in_fp32(head: Any) -> None:
    """Let a Detect turn logits into boxes in fp32: bf16 would place them to 4 pixels at 640."""
    decode = head._inference

    def decode_in_fp32(preds: dict[str, Tensor | list[Tensor]]) -> Tensor:
        with torch.autocast(head.stride.device.type, enabled=False):
            return decode({k: [t.float() for t in v] if isinstance(v, list) else v.float() for k, v in preds.items()})

    head._inference = decode_in_fp32


def exported_precisions(weights: str | Path) -> tuple[str, ...]:
    """What an exported model can be asked to compute in; of most it is what was exported, and goes as fp32 here."""
    return ("fp32", "bf16") if exported_format(weights) == "_openvino_model" else ("fp32",)


def exported_format(weights: str | Path) -> str | None:
    """How the name of an exported model ends, a key of `RUNTIMES`; None if it is taken to be a checkpoint."""
    return next((suffix for suffix in RUNTIMES if Path(weights).name.lower().endswith(suffix)), None)


def _load(weights: str | Path, *, trust: bool, imgsz: int | tuple[int, int] | None) -> DetectionModel:
    model = load_model(weights, trust=trust)
    if imgsz is not None:
        check_imgsz(imgsz, model)
    return model


def _open_exported(weights: Path, device: torch.device, precision: str, imgsz: int | tuple[int, int] | None) -> Backend:
    """Load an exported model on what runs it, and check that it takes images of that side, or (H, W)."""
    suffix = exported_format(weights) or ""
    if not (weights.is_file() if suffix.startswith(".") else weights.is_dir()):
        raise InputError(f"--weights {weights}: no such {'file' if suffix.startswith('.') else 'folder'}")
    task = BaseBackend.read_metadata(weights).get("task")
    if task != "detect":
        got = f"one for the task {task!r}" if task else "one that does not say its task, classes and size"
        raise InputError(
            f"--weights {weights}: expected a detection model that swin-yolo or ultralytics exported, got {got}"
        )
    require(f"--weights {weights}", *RUNTIMES[suffix])
    try:
        with nothing_installed(), _openvino_in(precision if suffix == "_openvino_model" else None):
            auto = AutoBackend(str(weights), device=device, verbose=False)
    except Exception as e:  # each runtime has exceptions of its own for a file that it cannot read
        raise InputError(
            f"--weights {weights}: expected an exported model, got one that cannot be loaded: {one_line(e)[:300]}"
        ) from e
    precision = precision if suffix == "_openvino_model" else "as exported"
    backend = Backend(auto, precision=precision, file=weights)
    if imgsz is not None:
        _check_exported_imgsz(imgsz, backend, weights)
    return backend


@contextmanager
def _openvino_in(precision: str | None) -> Iterator[None]:
    """Let OpenVINO on a CPU compute what is stored in fp32 in a precision; None asks for nothing.

    Unasked it picks bf16 where the CPU has it, which is less exact by orders of magnitude. ultralytics' OpenVINO
    backend makes its Core itself and asks for no settings.
    """
    if precision is None:
        yield
        return
    openvino: Any = importlib.import_module("openvino")

    hint = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}[precision]

    class Core(openvino.Core):
        def __init__(self, *args: Any):
            super().__init__(*args)
            self.set_property("CPU", {"INFERENCE_PRECISION_HINT": hint})

    before = openvino.Core
    openvino.Core = Core
    try:
        yield
    finally:
        openvino.Core = before


def _check_exported_imgsz(imgsz: int | tuple[int, int], backend: Backend, weights: str | Path) -> None:
    """Raise InputError unless an exported model takes images of that side, or (H, W)."""
    hw, stride = backend.fixed_hw, backend.stride
    sides = (imgsz,) if isinstance(imgsz, int) else imgsz
    shown = " ".join(map(str, sides))
    if hw is None and any(side % stride for side in sides):
        raise InputError(f"--imgsz {shown}: expected multiples of {stride}, the stride of {weights}")
    if hw is not None and imgsz not in (hw, max(hw)):
        raise InputError(
            f"--imgsz {shown}: expected {max(hw)}, since {weights} was exported for images of {hw[0]} x {hw[1]} "
            "(height x width); export --dynamic takes any size"
        )
