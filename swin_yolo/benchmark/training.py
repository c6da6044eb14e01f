"""Our training beside ultralytics' own: the same model, data, recipe, batch and epochs, each in a process."""

import contextlib
import io
import logging
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ultralytics import YOLO
from ultralytics.utils import LOGGER

from swin_yolo.benchmark.epoch_clock import Epoch, EpochClock
from swin_yolo.benchmark.report import Table, figure, spread
from swin_yolo.benchmark.yolo_labels import write_yolo
from swin_yolo.data.config import load_config
from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.evaluate import evaluate
from swin_yolo.engine.offline import without_integrations
from swin_yolo.engine.recipe import OWN_KEYS, load_recipe
from swin_yolo.engine.train import train
from swin_yolo.own_process import in_own_process
from swin_yolo.timing import Timing, ratio

OURS, THEIRS = "ours", "ultralytics train()"
MEANT_TO_CONVERGE = 20  # epochs from which AP says more than that something was learnt


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained on what.

    Attributes:
        cfg: a model YAML; one of ours as well, since ultralytics knows our layers in a process that imports them.
        data: dataset YAML, folder or shipped name; ultralytics gets a copy with its own labels.
        imgsz: side of the training images in pixels.
        epochs: at least 2: the first, in which all is set up, is not counted.
        batch_size: images per batch.
        device: as ultralytics names devices.
        rounds: runs of each, by seeds 0, 1, 2 ...
    """

    cfg: str = "yolov5s.yaml"
    data: str = "demo.yaml"
    imgsz: int = 320
    epochs: int = 3
    batch_size: int = 8
    device: str = "cpu"
    rounds: int = 3

    @property
    def scored_on(self) -> str:
        """The split that AP is of: test where there is one, since best.pt is chosen on val."""
        return "test" if "test" in load_config(self.data).splits else "val"


@dataclass(frozen=True)
class Run:
    """A finished run: its epochs but the first, and the AP of its best.pt by pycocotools."""

    epochs: list[Epoch]
    ap: float


def training(settings: TrainingSettings) -> Table:
    """Images/s and seconds of an epoch of both, run in turns; how much of an epoch validation is; and AP.

    Raises:
        InputError: if the dataset cannot be used.
    """
    splits = load_splits(settings.data)
    runs: dict[str, list[Run]] = {THEIRS: [], OURS: []}
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        yolo_yaml = write_yolo({name: splits[name] for name in ("train", "val")}, Path(folder) / "yolo")
        for seed in range(settings.rounds):
            ways = {THEIRS: partial(_theirs, settings, seed, yolo_yaml), OURS: partial(_ours, settings, seed)}
            for place, (name, way) in enumerate(ways.items()):
                runs[name].append(in_own_process(_run, way, Path(folder) / f"{seed}-{place}", settings))
    return _table(runs, settings, images=len(splits["train"]))


def _run(way: Callable[[Path], Path], save_dir: Path, settings: TrainingSettings) -> Run:
    """Train one way, in this process, and score the best.pt it gives."""
    LOGGER.setLevel(logging.ERROR)
    clock = EpochClock()
    with contextlib.redirect_stdout(io.StringIO()):
        clock.start()
        best = way(save_dir)
        scored = evaluate(
            best,
            settings.data,
            save_dir=save_dir / "scored",
            task=settings.scored_on,
            imgsz=settings.imgsz,
            batch_size=settings.batch_size,
            device=settings.device,
            save_json=False,
            plots=False,
        )
    return Run(clock.epochs()[1:], scored.score.metrics["AP"])


def _ours(settings: TrainingSettings, seed: int, save_dir: Path) -> Path:
    train(
        settings.cfg,
        settings.data,
        save_dir=save_dir,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        imgsz=settings.imgsz,
        device=settings.device,
        seed=seed,
    )
    return save_dir / "weights" / "best.pt"


def _theirs(settings: TrainingSettings, seed: int, yolo_yaml: Path, save_dir: Path) -> Path:
    recipe = {key: value for key, value in load_recipe().items() if key not in OWN_KEYS}
    with without_integrations():
        YOLO(settings.cfg).train(
            **recipe,
            data=str(yolo_yaml),
            epochs=settings.epochs,
            batch=settings.batch_size,
            imgsz=settings.imgsz,
            device=settings.device,
            seed=seed,
            pretrained=False,
            plots=False,
            project=str(save_dir.parent),
            name=save_dir.name,
        )
    return save_dir / "weights" / "best.pt"


def _table(runs: Mapping[str, list[Run]], settings: TrainingSettings, *, images: int) -> Table:
    seconds = {name: Timing(tuple(_mean(run, "training") for run in of)) for name, of in runs.items()}
    whole = {name: Timing(tuple(_mean(run, "whole") for run in of)) for name, of in runs.items()}
    rows, figures = [], {}
    for name, of in runs.items():
        faster, shorter = ratio(seconds[name], seconds[THEIRS]), ratio(whole[name], whole[THEIRS])
        shares = {
            part: Timing(tuple(_mean(run, part) / _mean(run, "whole") for run in of)).median
            for part in ("validation", "overhead")
        }
        aps = [run.ap for run in of]
        deviation = f" ± {statistics.stdev(aps):.3f}" if len(aps) > 1 else ""
        rows.append(
            (
                name,
                figure(images / seconds[name].median),
                "1" if name == THEIRS else spread(*faster),
                figure(whole[name].median),
                "1" if name == THEIRS else spread(*shorter),
                f"{100 * shares['validation']:.1f}%",
                f"{100 * shares['overhead']:.1f}%",
                f"{statistics.fmean(aps):.3f}{deviation}",
            )
        )
        figures[name] = {
            "training_seconds": seconds[name].seconds,
            "epoch_seconds": whole[name].seconds,
            "training_ratio": faster[0],
            "epoch_ratio": shorter[0],
            "shares": shares,
            "ap": aps,
        }
    columns = ("", "training images/s", f"times {THEIRS}", "seconds of an epoch", f"times as fast as {THEIRS}")
    more = ("validation of an epoch", "without forward pass and loss", f"AP on {settings.scored_on}")
    return Table(f"Training {settings.cfg}", (*columns, *more), rows, figures, _remarks(settings, images))


def _remarks(settings: TrainingSettings, images: int) -> list[str]:
    learnt = " So short a run only shows that both learn." if settings.epochs < MEANT_TO_CONVERGE else ""
    return [
        f"{images} training images of {settings.data} at {settings.imgsz} px in batches of {settings.batch_size}, by "
        f"our default recipe as far as ultralytics has its keys, with the workers that each takes by default on "
        f"{settings.device}; the median of {settings.rounds} runs of each, in turns, of which the mean of epochs 2 to "
        f"{settings.epochs} counts; quartiles in brackets.",
        "AP is that of best.pt, which each chooses on val, by pycocotools: the mean over seeds 0, 1 ... and "
        f"behind ± their standard deviation.{learnt}",
    ]


def _mean(run: Run, part: str) -> float:
    return sum(getattr(epoch, part) for epoch in run.epochs) / len(run.epochs)
