"""One step of training on one batch, over and over, to measure what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.utils import DEFAULT_CFG_DICT

from swin_yolo.data.coco import CocoIndex
from swin_yolo.engine.datasets import build_dataset
from swin_yolo.engine.device import choose_device, keep_freed_memory
from swin_yolo.engine.model import build_model
from swin_yolo.engine.optimizer import decay_groups, make_optimizer
from swin_yolo.engine.recipe import OWN_ARGUMENTS
from swin_yolo.nn.swin import set_drop_path


@dataclass(frozen=True)
class StepSettings:
    """What steps are made with: see `train`; `index` is the train split, `recipe` has every key."""

    index: CocoIndex
    recipe: Mapping[str, Any]
    imgsz: int
    batch_size: int
    device: str
    head: str | None = None

    @property
    def torch_device(self) -> torch.device:
        """The first of `device`."""
        return choose_device(self.device.split(",")[0])


def training_step(cfg: str, settings: StepSettings) -> Callable[[], None]:
    """A function that trains a fresh model one step on the first images of the split, the same for every model."""
    device, args = settings.torch_device, step_arguments(settings.recipe, settings.imgsz)
    model = build_model(cfg, nc=len(settings.index.names), head=settings.head).to(device)
    return step_on(model, first_batch(settings, args, device), args, device)


def step_arguments(recipe: Mapping[str, Any], imgsz: int) -> Any:
    """The arguments of a trainer by a recipe that has every key."""
    return get_cfg({**DEFAULT_CFG_DICT, **OWN_ARGUMENTS, **recipe, "imgsz": imgsz})


def step_on(model: Any, batch: dict[str, Any], args: Any, device: torch.device) -> Callable[[], None]:
    """A function that trains a model one step on a batch, as `CocoTrainer` does.

    In fp16 where a GPU has it, and with the memory and its layout of `CocoTrainer`.

    Args:
        model: on the device.
        batch: on the device, its images in 0..1.
        args: of `step_arguments`.
        device: to compute on.
    """
    if device.type == "cpu":
        keep_freed_memory()
    model = model.to(memory_format=torch.channels_last).train()
    model.args = args
    set_drop_path(model, args.drop_path)
    groups = decay_groups(model, args.weight_decay)
    optimizer = make_optimizer(args.optimizer, groups, lr=args.lr0, momentum=args.momentum, fused=device.type == "cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def step() -> None:
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            loss, _ = model(batch)
        scaler.scale(loss.sum()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=args.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def first_batch(settings: StepSettings, args: Any, device: torch.device) -> dict[str, Any]:
    """The first images of the split, augmented as in training, in one batch on the device; images in 0..1."""
    dataset = build_dataset(settings.index, args, mode="train", batch_size=settings.batch_size, stride=32)
    batch = dataset.collate_fn([dataset[i % len(dataset)] for i in range(settings.batch_size)])
    on_device = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    images = on_device["img"].float() / 255
    return {**on_device, "img": images.contiguous(memory_format=torch.channels_last)}
