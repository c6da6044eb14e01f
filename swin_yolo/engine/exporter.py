"""ultralytics' Exporter, with our settings and calibration images: all that is known of its inside is here."""

import importlib
import logging
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from ultralytics.data import build_dataloader
from ultralytics.engine.exporter import Exporter, NMSModel
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER

from swin_yolo.data.dataset import CocoDataset
from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.offline import without_integrations

CALIBRATION_IMAGES = 300  # what ultralytics recommends at least; spread evenly over the training images


@dataclass(frozen=True)
class Settings:
    """What is asked of an export; see `swin_yolo.engine.export`."""

    imgsz: tuple[int, int]
    batch_size: int
    dynamic: bool
    precision: str
    nms: bool
    opset: int | None
    data: str | Path | None


class CocoExporter(Exporter):
    """ultralytics' Exporter with our settings, and our images to calibrate on."""

    def __init__(self, name: str, settings: Settings, device: torch.device, calibration: CocoDataset | None):
        bits = {"fp32": None, "fp16": 16, "int8": 8}[settings.precision]
        overrides = {
            "format": name,
            "imgsz": list(settings.imgsz),
            "batch": settings.batch_size,
            "dynamic": settings.dynamic,
            "quantize": bits,
            # Not False, which asks for a head without NMS that ours do not have.
            "nms": settings.nms or None,
            "opset": settings.opset if name == "onnx" else None,
            "device": str(device.index) if device.type == "cuda" else device.type,
            # Any value: without one ultralytics takes a dataset of its own, and downloads it.
            "data": "calibration" if calibration is not None else None,
        }
        with without_integrations():
            super().__init__(overrides={key: value for key, value in overrides.items() if value is not None})
        self.calibration: Sized = calibration or []

    def get_int8_calibration_dataloader(self, prefix: str = "") -> DataLoader:
        """Batches of calibration images as uint8, letterboxed to the export size."""
        images = self.calibration
        batch = min(self.args.batch, len(images))
        return build_dataloader(images, batch, 0, shuffle=False, rank=-1, drop_last=True)

    def export_openvino(self, **kwargs: Any) -> str:
        """Write OpenVINO's format; in int8 the Swin blocks stay as they are.

        OpenVINO 2026.4 ends the process (segmentation fault) when it compiles them in int8 for a CPU.
        """
        if self.args.quantize != 8:
            return super().export_openvino(**kwargs)
        nncf: Any = importlib.import_module("nncf")
        nncf.set_log_level(logging.ERROR)
        quantize = nncf.quantize

        def quantize_others(*, ignored_scope: Any = None, **arguments: Any) -> Any:
            names = ignored_scope.names if ignored_scope else []
            scope = nncf.IgnoredScope(names=names, patterns=[r".*\.blocks\..*"], validate=False)
            return quantize(ignored_scope=scope, **arguments)

        nncf.quantize = quantize_others
        try:
            return super().export_openvino(**kwargs)
        finally:
            nncf.quantize = quantize

    def reference(self, model: DetectionModel) -> nn.Module:
        """What the exported model is to agree with: the model as it was loaded, with the same NMS if it has one."""
        model = deepcopy(model).to(self.device).eval()
        if not self.args.nms:
            return model
        model.model[-1].export = model.model[-1].xyxy = True
        model.model[-1].format = self.args.format
        return NMSModel(model, self.args)


def prepared(model: DetectionModel, source: Path) -> DetectionModel:
    """The model with what ultralytics' Exporter reads off it: the path that names the outputs, the task."""
    model.pt_path, model.task = str(source), "detect"
    model.args = {**model.args, "data": None}  # it goes into the file, and may be a path on this machine
    return model


def calibration_set(data: str | Path, settings: Settings) -> CocoDataset:
    """Up to `CALIBRATION_IMAGES` training images, letterboxed to the export size."""
    index = load_splits(data, ("train",))["train"]
    dataset = CocoDataset(index, imgsz=max(settings.imgsz), fraction=CALIBRATION_IMAGES, prefix="calibration: ")
    dataset.transforms.transforms[0].new_shape = settings.imgsz
    return dataset


@contextmanager
def quiet() -> Iterator[None]:
    """Only warnings of ultralytics: the rest is about its own command line, or comes as an exception too."""

    def is_warning(record: logging.LogRecord) -> bool:
        return record.levelno == logging.WARNING

    LOGGER.addFilter(is_warning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every branch on a size
            yield
    finally:
        LOGGER.removeFilter(is_warning)
