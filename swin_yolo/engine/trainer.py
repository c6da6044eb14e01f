"""Our subclass of ultralytics' trainer: COCO data, COCO scores, a Swin-fit optimiser, checkpoints that survive.

DDP workers are fresh processes that unpickle this class by name; importing it registers the layers.
"""

from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim
from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from swin_yolo.data.dataset import CocoDataset
from swin_yolo.engine.datasets import build_dataset, load_splits
from swin_yolo.engine.device import keep_freed_memory, use_all_cores
from swin_yolo.engine.offline import own_amp_check, without_integrations
from swin_yolo.engine.optimizer import decay_groups, layer_lr_scales, make_optimizer
from swin_yolo.engine.recipe import KEYS, OWN_ARGUMENTS
from swin_yolo.engine.validator import CocoMetrics, CocoValidator
from swin_yolo.files import written_whole
from swin_yolo.nn.swin import set_drop_path
from swin_yolo.weights import read_checkpoint, strip_checkpoint, training_state

# Of a checkpoint's arguments, those that a run that goes on takes: what `train` sets. Others could name files to load.
_RESUMED = KEYS | {
    "data",
    "epochs",
    "batch",
    "imgsz",
    "patience",
    "freeze",
    "started_from",
    "trained_on",
    "pretrained_rows",
    "cache",
    "seed",
    "workers",
}

# What it may do differently.
_CHANGED_ON_RESUME = ("data", "device", "workers", "save_dir", "trained_on")


class CocoTrainer(DetectionTrainer):
    """Trains a detection model on COCO-format data; best.pt is the epoch of the highest AP on the val split."""

    args: Any
    model: Any

    def __init__(
        self,
        cfg: dict[str, Any] | None = None,
        overrides: dict[str, Any] | None = None,
        _callbacks: dict | None = None,
        *,
        data: dict[str, Any] | None = None,
    ):
        """Set the run up.

        Args:
            cfg: ultralytics' defaults.
            overrides: arguments, ultralytics' and those of `OWN_ARGUMENTS`.
            data: what `load_splits` gave, so that it is not read twice; None reads it.
        """
        self._loaded = data
        workers = (overrides or {}).get("workers", DEFAULT_CFG_DICT["workers"])
        with without_integrations():
            super().__init__({**(cfg or DEFAULT_CFG_DICT), **OWN_ARGUMENTS}, overrides, _callbacks)
        self._seen = {"images": 0, "steps": 0}  # of this epoch, for results.csv
        self._seconds_before = 0.0  # that the run took before it was stopped
        self._saved = bool(self.resume)  # whether last.pt is of this run, and not of one that this one writes over
        if self.device.type == "cpu":
            # ultralytics leaves one core idle and loads images in the main process there.
            self.args.workers = workers
            use_all_cores()
            keep_freed_memory()

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Take the arguments of the run to go on with from its checkpoint, which ultralytics would unpickle."""
        self.resume = bool(self.args.resume)
        if self.resume:
            last = str(self.args.resume)
            changed = {k: overrides[k] for k in _CHANGED_ON_RESUME if overrides.get(k) is not None}
            saved = {k: v for k, v in read_checkpoint(last).train_args.items() if k in _RESUMED}
            fixed = {"task": "detect", "model": last, "resume": last, "pretrained": False}
            self.args = get_cfg({**DEFAULT_CFG_DICT, **OWN_ARGUMENTS, **saved, **changed, **fixed})

    def train(self) -> None:
        """Train, by a process per device if there are several."""
        if self.ddp:
            # Else ultralytics deletes the run folder, and with it the lock and what others keep there. Nothing but that
            # is asked of the resume of the process that starts the others.
            self.resume = True
        super().train()

    def setup_model(self) -> dict[str, Any] | None:
        """The model given, or the one of the checkpoint to go on from; gives that checkpoint."""
        if isinstance(self.model, nn.Module) or not self.resume:
            return super().setup_model()
        checkpoint = training_state(self.model)
        # Itself and not its YAML's: its class branch may have the widths of the weights that it started from.
        self.model = deepcopy(checkpoint["ema"])
        return checkpoint

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Go back to last.pt after a loss that is no number, as ultralytics does, but read it as data."""
        theirs = ultralytics_trainer.load_checkpoint
        ultralytics_trainer.load_checkpoint = lambda file: (None, training_state(file))
        try:
            return super()._handle_nan_recovery(epoch)
        finally:
            ultralytics_trainer.load_checkpoint = theirs

    def get_dataset(self) -> dict[str, Any]:
        """The splits of `--data`."""
        return self._loaded if self._loaded is not None else load_splits(self.args.data)

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> CocoDataset:
        """A split as a dataset; `img_path` is the split's index, which ultralytics hands through."""
        stride = max(int(unwrap_model(self.model).stride.max()), 32)
        return build_dataset(img_path, self.args, mode=mode, batch_size=batch or self.batch_size, stride=stride)

    def _setup_train(self) -> None:
        """Set up as ultralytics does, then give the EMA the recipe's horizon."""
        with own_amp_check():
            super()._setup_train()
        self._set_ema_horizon()

    def _load_checkpoint_state(self, ckpt: dict[str, Any]) -> None:
        """Take a checkpoint's state; ultralytics makes a new EMA for it, with its own decay."""
        super()._load_checkpoint_state(ckpt)
        self._set_ema_horizon()

    def _set_ema_horizon(self) -> None:
        if self.ema is not None:
            self.ema.decay = ema_decay(self.args.ema_epochs * len(self.train_loader) / self.accumulate)

    def get_validator(self) -> CocoValidator:
        """The validator of every epoch."""
        args = {k: v for k, v in vars(copy(self.args)).items() if k not in OWN_ARGUMENTS}
        validator = CocoValidator(self.test_loader, save_dir=self.save_dir, args=args, _callbacks=self.callbacks)
        validator.metrics = CocoMetrics()
        return validator

    def set_model_attributes(self) -> None:
        """Attach classes and arguments to the model, and set its drop path and memory layout."""
        super().set_model_attributes()
        set_drop_path(self.model, self.args.drop_path)
        if self.device.type == "cpu" and self.args.channels_last is not False:
            # As ultralytics does on CUDA: convolutions are faster, and our layers' NCHW <-> NHWC costs nothing.
            self.model.to(memory_format=torch.channels_last)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Images in 0..1 on the device, in the model's memory layout."""
        batch = super().preprocess_batch(batch)
        self._seen["images"] += len(batch["img"]) * max(self.world_size, 1)
        if self.device.type == "cpu" and self.args.channels_last is not False:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def build_optimizer(
        self,
        model: nn.Module,
        name: str = "AdamW",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> optim.Optimizer:
        """AdamW or SGD with decay on weight matrices and filters only, and slower for pretrained Swin blocks.

        Relative position bias tables never go to an optimiser that orthogonalises matrices. AdamW's decay is apart from
        its gradient, so it is taken as the recipe has it and not, as `decay` is, scaled by the batch size.
        """
        model = unwrap_model(model)
        scales = layer_lr_scales(model, self.args.layer_decay, self.args.pretrained_rows)
        groups = decay_groups(model, self.args.weight_decay if name == "AdamW" else decay, lr_scales=scales)
        return make_optimizer(name, groups, lr=lr, momentum=momentum, fused=next(model.parameters()).is_cuda)

    def optimizer_step(self) -> None:
        """One step with the recipe's gradient clipping, then the EMA."""
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=self.args.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)
        self._seen["steps"] += 1

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Write a row of results.csv, with the images seen and the optimiser steps made in its epoch.

        Its time is that of all epochs, also of those before the run was stopped.
        """
        # A run that an older version began has no such columns.
        counted = not self.csv.exists() or "images" in self.csv.read_text(encoding="utf-8").partition("\n")[0]
        self.train_time_start -= self._seconds_before
        self._seconds_before = 0.0
        super().save_metrics({**metrics, **(self._seen if counted else {})})
        self._seen = dict.fromkeys(self._seen, 0)

    def save_model(self) -> bool:
        """Write last.pt, and best.pt if this is the best epoch, each whole or not at all."""
        last, best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.last, self.best = _unfinished(last), _unfinished(best)
        try:
            for unfinished in (self.last, self.best):
                unfinished.unlink(missing_ok=True)  # of a run that was killed
            saved = super().save_model()
            # best.pt first: killed in between, the run goes on from the epoch before and writes both anew.
            for unfinished, file in ((self.best, best), (self.last, last)):
                if unfinished.exists():
                    unfinished.replace(file)
            self._saved = True
        finally:
            self.last, self.best = last, best
        return saved

    def save_interrupted(self) -> None:
        """Leave a usable last.pt when training is stopped inside the first epoch; later, the last epoch's stands."""
        if RANK in {-1, 0} and self.ema is not None and not self._saved:
            self.epoch, self.fitness = -1, None
            self.metrics: dict[str, float] = self.metrics or {}
            self.best_fitness = 0.0  # differs from fitness: no best.pt of an epoch that never ended
            self.save_model()

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Go on after the checkpoint's last whole epoch, which may be none."""
        if self.resume and ckpt is not None and ckpt.get("epoch") == -1:
            LOGGER.info("Resuming: no epoch was finished, starting at the first with the weights so far")
            self._load_checkpoint_state({**ckpt, "best_fitness": None})
        else:
            super().resume_training(ckpt)
        if self.resume and RANK in {-1, 0}:
            self._seconds_before = drop_rows_after(self.csv, self.start_epoch)

    def final_eval(self) -> None:
        """Strip optimiser states from the checkpoints; `train` scores best.pt after."""
        if RANK in {-1, 0}:
            for file in (self.last, self.best):
                if file.exists():
                    strip_checkpoint(file)

    def plot_metrics(self) -> None:
        """Nothing: `train` draws the curves of results.csv."""

    def plot_training_labels(self) -> None:
        """Nothing: `train` draws them."""


def drop_rows_after(results_csv: Path, epoch: int) -> float:
    """Take the rows of later epochs out of results.csv: a run killed between the row and the checkpoint redoes one.

    Returns:
        The time of the last row that is left, in seconds; 0 without any.
    """
    if not results_csv.exists():
        return 0.0
    head, *rows = results_csv.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if int(float(row.split(",")[0])) <= epoch]
    with written_whole(results_csv) as unfinished:
        unfinished.write_text("".join([head, *kept]), encoding="utf-8")
    return float(kept[-1].split(",")[1]) if kept else 0.0


def ema_decay(steps: float) -> Callable[[int], float]:
    """Decay of a weight average over about the last `steps` optimiser steps, as a function of the step.

    It rises as (1 + x) / (10 + x), so that the first, random weights are soon forgotten. ultralytics' own rises over
    2000 steps whatever the length of the run, so that short runs have next to no average and a validation that jumps.
    """
    final = 1 - 1 / max(steps, 1)
    return lambda x: min(final, (1 + x) / (10 + x))


def _unfinished(file: Path) -> Path:
    return file.with_name(f".{file.name}.unfinished")
