"""Training: one public function, from arguments to a run folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import init_seeds

from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.evaluate import Evaluation, evaluate
from swin_yolo.engine.model import build_model, check_imgsz, count_parameters, load_model
from swin_yolo.engine.pictures import draw_curves, draw_labels
from swin_yolo.engine.recipe import load_recipe
from swin_yolo.engine.trainer import CocoTrainer
from swin_yolo.errors import InputError


def train(
    cfg: str | Path = "yolov5s-swin.yaml",
    data: str | Path = "demo.yaml",
    *,
    save_dir: Path,
    weights: str | Path | None = None,
    hyp: str | Path | None = None,
    epochs: int = 100,
    batch_size: int = 16,
    imgsz: int = 640,
    device: str = "",
    workers: int = 2,
    optimizer: str | None = None,
    cos_lr: bool | None = None,
    patience: int = 100,
    freeze: list[int] | None = None,
    cache: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Train a detector on COCO-format data and score its best epoch on the val split.

    Writes args.yaml, results.csv, weights/last.pt and best.pt, metrics.json and plots into `save_dir`.

    Args:
        cfg: model YAML, a file or a name such as yolov5s-swin.yaml.
        data: dataset YAML, folder or shipped name.
        save_dir: folder of the run; made if missing.
        weights: checkpoint to start from; layers of the same name and shape are taken, and classes of the same name.
        hyp: YAML of recipe keys that replace the default recipe's.
        epochs: passes over the train split.
        batch_size: images per batch.
        imgsz: side of the training images in pixels.
        device: as ultralytics names devices; "" takes the first GPU, or the CPU; "0,1" trains on two by DDP.
        workers: processes that load images.
        optimizer: in place of the recipe's.
        cos_lr: in place of the recipe's.
        patience: epochs without a better AP after which training stops.
        freeze: row numbers whose parameters stay as they are.
        cache: "ram" or "disk" keeps decoded images.
        seed: of weights, data order and augmentation.

    Raises:
        InputError: if an argument, the model YAML or the dataset cannot be used; nothing is left behind then, unless
            epochs were trained before it showed.
        KeyboardInterrupt: as it came; last.pt is usable.
    """
    recipe = load_recipe(hyp)
    recipe |= {k: v for k, v in (("optimizer", optimizer), ("cos_lr", cos_lr)) if v is not None}
    choose_device(device)
    splits = load_splits(data)
    init_seeds(seed)
    model = build_model(cfg, nc=splits["nc"], channels=splits["channels"], verbose=True)
    model.names = splits["names"]  # by which `load` finds the rows of the classification head
    check_imgsz(imgsz, model)
    check_freeze(freeze, model)
    if weights is not None:
        model.load(load_model(weights))
    overrides = {
        **recipe,
        "task": "detect",
        "model": str(cfg),
        "data": _absolute(data),
        "save_dir": str(save_dir.resolve()),
        "epochs": epochs,
        "batch": batch_size,
        "imgsz": imgsz,
        "device": device,
        "workers": workers,
        "patience": patience,
        "freeze": freeze,
        "cache": cache or False,
        "seed": seed,
        "pretrained": False,
    }
    existed = save_dir.exists()
    try:
        trainer = CocoTrainer(overrides=overrides, data=splits)
        trainer.model = model
        return _run(trainer, device=device, workers=workers)
    except InputError:
        if not existed and not (save_dir / "weights" / "last.pt").exists():
            shutil.rmtree(save_dir, ignore_errors=True)
        raise


def resume(last: str | Path, *, data: str | Path | None = None, device: str = "", workers: int = 2) -> Evaluation:
    """Go on with a stopped run, in its own folder and with its own arguments.

    Args:
        last: weights/last.pt of the run.
        data: dataset, where it has moved since; None takes the run's.
        device: see `train`.
        workers: see `train`.

    Raises:
        InputError: if the checkpoint cannot be used, its run has ended, or the dataset has other classes.
    """
    choose_device(device)
    file = Path(last).resolve()
    names = load_model(file, flag="--resume").names
    ckpt = torch.load(file, map_location="cpu", weights_only=False)
    if ckpt.get("optimizer") is None or ckpt["epoch"] + 1 >= ckpt["train_args"]["epochs"]:
        raise InputError(f"--resume {last}: this run has ended; start another from it with --weights {last}")
    if file.parent.name != "weights":
        raise InputError(f"--resume {last}: expected weights/last.pt in the folder of its run")
    splits = load_splits(data or ckpt["train_args"]["data"])
    if splits["names"] != names:
        raise InputError(f"--resume {last}: its classes are {names}, those of the dataset {splits['names']}")
    overrides = {
        "model": str(file),
        "resume": str(file),
        "data": None if data is None else _absolute(data),
        "save_dir": str(file.parent.parent),
        "device": device,
        "workers": workers,
    }
    return _run(CocoTrainer(overrides=overrides, data=splits), device=device, workers=workers)


def _run(trainer: CocoTrainer, *, device: str, workers: int) -> Evaluation:
    """Train, then score best.pt and draw what the run did."""
    try:
        trainer.train()
    except KeyboardInterrupt:
        trainer.save_interrupted()
        if trainer.last.exists():
            LOGGER.info(f"\nStopped; go on with --resume {trainer.last}")
        raise
    args = trainer.args
    evaluation = evaluate(
        trainer.best,
        args.data,
        save_dir=trainer.save_dir,
        imgsz=args.imgsz,
        batch_size=args.batch,
        device=device.split(",")[0],
        workers=workers,
    )
    mosaics = sorted(trainer.save_dir.glob("train_batch*.jpg"))
    drawn = [draw_curves(trainer.save_dir), draw_labels(trainer.save_dir, trainer.data["train"]), *mosaics]
    return replace(evaluation, pictures=[*evaluation.pictures, *drawn])


def check_freeze(freeze: list[int] | None, model: Any) -> None:
    """Raise InputError unless all rows to freeze are rows of the model, and leave something to train."""
    rows = len(model.model)
    if wrong := [row for row in freeze or [] if not 0 <= row < rows]:
        raise InputError(f"--freeze {' '.join(map(str, wrong))}: expected rows from 0 to {rows - 1}")
    if freeze and not any(count_parameters(layer) for row, layer in enumerate(model.model) if row not in freeze):
        raise InputError(f"--freeze {' '.join(map(str, freeze))}: no parameters are left to train")


def _absolute(data: str | Path) -> str:
    """The dataset under a name that holds in another working folder too; shipped names stay."""
    return str(Path(data).resolve()) if Path(data).exists() else str(data)
