"""Training: one public function, from arguments to a run folder."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import init_seeds

from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.device import choose_device, kind_of_device
from swin_yolo.engine.evaluate import Evaluation, evaluate
from swin_yolo.engine.freeze import frozen_modules
from swin_yolo.engine.model import build_model, check_imgsz
from swin_yolo.engine.optimizer import SWIN_ROWS
from swin_yolo.engine.pictures import draw_curves, draw_labels
from swin_yolo.engine.recipe import load_recipe, unread_gains
from swin_yolo.engine.run_folder import locked
from swin_yolo.engine.trainer import CocoTrainer
from swin_yolo.errors import InputError
from swin_yolo.files import sha256
from swin_yolo.nn import AnchorDetect
from swin_yolo.weights import Checkpoint, LoadReport, Refused, format_report, load_weights, read_checkpoint


def train(
    cfg: str | Path = "yolov5s-swin.yaml",
    data: str | Path = "demo.yaml",
    *,
    save_dir: Path,
    head: str | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    hyp: str | Path | None = None,
    epochs: int = 100,
    batch_size: int = 16,
    imgsz: int = 640,
    device: str = "",
    workers: int = 2,
    optimizer: str | None = None,
    cos_lr: bool | None = None,
    patience: int = 100,
    freeze: Sequence[int | str] | None = None,
    layer_decay: float | None = None,
    cache: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Train a detector on COCO-format data and score its best epoch on the val split.

    Writes args.yaml, results.csv, weights/last.pt and best.pt, metrics.json and plots into `save_dir`.

    Args:
        cfg: model YAML, a file or a name such as yolov5s-swin.yaml.
        data: dataset YAML, folder or shipped name.
        save_dir: folder of the run; made if missing.
        head: "anchor" puts YOLOv5's anchor-based head in the place of the YAML's.
        weights: what to start from, of any kind that `load_weights` takes; what fits is taken, and reported.
        trust: run whatever code `weights` holds.
        hyp: YAML of recipe keys that replace the default recipe's.
        epochs: passes over the train split.
        batch_size: images per batch.
        imgsz: side of the training images in pixels.
        device: as ultralytics names devices; "" takes the first GPU, or the CPU; "0,1" trains on two by DDP.
        workers: processes that load images.
        optimizer: in place of the recipe's.
        cos_lr: in place of the recipe's.
        patience: epochs without a better AP after which training stops.
        freeze: see `frozen_modules`.
        layer_decay: each pretrained Swin block learns so many times as fast as the next one; None takes the recipe's.
        cache: "ram" or "disk" keeps decoded images.
        seed: of weights, data order and augmentation.

    Raises:
        InputError: if an argument, the model YAML or the dataset cannot be used, or another process trains into
            `save_dir`; nothing is left behind then, unless epochs were trained before it showed.
        KeyboardInterrupt: as it came; last.pt is usable.
    """
    recipe = load_recipe(hyp)
    recipe |= {k: v for k, v in (("optimizer", optimizer), ("cos_lr", cos_lr)) if v is not None}
    if layer_decay is not None:
        if weights is None or layer_decay == 0:
            expected = "a number above 0" if layer_decay == 0 else "--weights too, whose Swin blocks it slows"
            raise InputError(f"--layer-decay {layer_decay:g}: expected {expected}")
        recipe["layer_decay"] = layer_decay
    choose_device(device)
    splits = load_splits(data)
    init_seeds(seed)
    model = build_model(cfg, nc=splits["nc"], channels=splits["channels"], head=head, verbose=True)
    model.names = splits["names"]  # by which `load_weights` finds the rows of the classification head
    check_imgsz(imgsz, model)
    if unread := unread_gains(recipe, anchor_based=isinstance(model.model[-1], AnchorDetect)):
        # No mistake: models of both heads are compared by one recipe.
        LOGGER.warning(f"--hyp {hyp}: the head of {cfg} does not read {', '.join(unread)}, which the other kind does")
    frozen = frozen_modules(freeze or (), model)
    if frozen:
        LOGGER.info(f"Frozen: {', '.join(frozen)}")
    pretrained: list[int] = []
    if weights is not None:
        report = load_weights_into(model, weights, trust=trust)
        LOGGER.info(f"{weights} into {cfg}\n{format_report(report)}\n")
        pretrained = pretrained_rows(model, report)
        if layer_decay is not None and not pretrained:
            raise InputError(
                f"--layer-decay {layer_decay:g}: expected Swin rows in {cfg} that {weights} fills, got none"
            )
    if recipe["layer_decay"] != 1 and not pretrained:  # no mistake either
        LOGGER.warning(f"--hyp {hyp}: layer_decay slows nothing, as --weights fills no Swin row of {cfg}")
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
        "freeze": frozen or None,
        "started_from": None if weights is None else {"file": str(weights), "sha256": sha256(Path(weights))},
        "trained_on": kind_of_device(device),
        "pretrained_rows": pretrained,
        "cache": cache or False,
        "seed": seed,
        "pretrained": False,
    }
    existed = save_dir.exists()
    with locked(save_dir):
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
        InputError: if the checkpoint cannot be used, its run has ended or goes on in another process, or the dataset
            has other classes.
    """
    choose_device(device)
    file = Path(last).resolve()
    checkpoint = read_last(file)
    splits = load_splits(data or checkpoint.train_args["data"])
    if splits["names"] != checkpoint.names:
        raise InputError(f"--resume {last}: its classes are {checkpoint.names}, those of the dataset {splits['names']}")
    folder = file.parent.parent
    overrides = {
        "model": str(file),
        "resume": str(file),
        "data": None if data is None else _absolute(data),
        "save_dir": str(folder),
        "device": device,
        "workers": workers,
        "trained_on": _both(checkpoint.train_args.get("trained_on"), kind_of_device(device)),
    }
    with locked(folder):
        return _run(CocoTrainer(overrides=overrides, data=splits), device=device, workers=workers)


def read_last(file: Path) -> Checkpoint:
    """The checkpoint of a run to go on with, read as data.

    Raises:
        InputError: if it cannot be read so, or is not of a run of ours that can go on.
    """
    try:
        checkpoint = read_checkpoint(file)
    except InputError as e:
        if isinstance(e.__cause__, Refused):
            raise InputError(
                f"--resume {file}: refused, since it {e.__cause__} and could run code; no run of ours does"
            ) from e
        raise InputError(f"--resume {e}") from e
    run, epoch = checkpoint.train_args, checkpoint.metadata.get("epoch")
    if not checkpoint.has_optimizer or (isinstance(epoch, int) and epoch + 1 >= run.get("epochs", 0)):
        raise InputError(f"--resume {file}: this run has ended; start another from it with --weights {file}")
    if checkpoint.yaml is None or not isinstance(epoch, int) or file.parent.name != "weights":
        raise InputError(f"--resume {file}: expected weights/last.pt in the folder of its run")
    return checkpoint


def _run(trainer: CocoTrainer, *, device: str, workers: int) -> Evaluation:
    """Train, then score best.pt and draw what the run did."""
    try:
        trainer.train()
    except KeyboardInterrupt:
        trainer.save_interrupted()
        if trainer.last.exists():
            LOGGER.info(f"\nStopped; go on with --resume {trainer.last}")
        raise
    except subprocess.CalledProcessError as e:
        # What went wrong in the process of a device is on the screen already, behind that process' traceback.
        raise InputError(f"--device {device}: training stopped in the process of a device, which says above why") from e
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


def load_weights_into(
    model: DetectionModel, weights: str | Path, *, trust: bool, flag: str = "--weights"
) -> LoadReport:
    """`load_weights`, with the flag in its messages."""
    try:
        return load_weights(model, weights, trust=trust)
    except InputError as e:
        raise InputError(f"{flag} {e}") from e


def pretrained_rows(model: DetectionModel, report: LoadReport) -> list[int]:
    """Numbers of the Swin rows whose weights, most of them, are the file's."""
    rows = [i for i, layer in enumerate(model.model) if isinstance(layer, SWIN_ROWS)]
    return [i for i in rows if report.share(f"model.{i}") > 0.5]


def _both(before: str | None, now: str) -> str:
    """What a run was trained on that is gone on with; an older one does not say what it began on."""
    if before is None:
        return now
    return before if before.split(", then ")[-1] == now else f"{before}, then {now}"


def _absolute(data: str | Path) -> str:
    """The dataset under a name that holds in another working folder too; shipped names stay."""
    return str(Path(data).resolve()) if Path(data).exists() else str(data)
