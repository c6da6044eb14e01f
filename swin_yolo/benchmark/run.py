"""Sections of the benchmark, one after the other, into benchmark.json and benchmark.md."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from swin_yolo.benchmark.drawn_detections import DrawnSet
from swin_yolo.benchmark.evaluation import EvaluationSettings, evaluation
from swin_yolo.benchmark.index import IndexSettings, index
from swin_yolo.benchmark.intervals import IntervalSettings, intervals
from swin_yolo.benchmark.layers import LayerSettings, layers
from swin_yolo.benchmark.loader import LoaderSettings, loader
from swin_yolo.benchmark.long_video import drawn_video, long_video
from swin_yolo.benchmark.models import CFGS, ModelsSettings, models
from swin_yolo.benchmark.report import Table
from swin_yolo.benchmark.synthetic_coco import OBJECTS365
from swin_yolo.benchmark.training import TrainingSettings, training
from swin_yolo.benchmark.video import VideoSettings, video
from swin_yolo.data.config import load_config
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.evaluate import versions
from swin_yolo.engine.export import FORMATS
from swin_yolo.engine.model import build_model, check_side, read_model_yaml
from swin_yolo.engine.packages import require
from swin_yolo.files import write_json, written_whole
from swin_yolo.machine import machine

STRIDE = 32  # of the last stage of a Swin backbone, in pixels; no model has a smaller one


@dataclass(frozen=True)
class Settings:
    """What the sections are to measure; each reads what it needs.

    Attributes:
        weights: checkpoints to detect with; without one, a fresh yolov5s, which finds nothing.
        source: video to detect in; None draws one.
        imgsz: longer side that images are scaled to, in pixels.
        device: as ultralytics names devices.
        rounds: how often each piece of work is timed.
        frames: length of the long video.
        batches: numbers of images that layers are measured with.
        windows: window sizes of layers; those after the first on maps that they divide.
        cfgs: model YAMLs, the first of which the others are compared with, and trained beside ultralytics.
        per_row: say what each row of each model takes.
        batch_size: images of a batch in training.
        epochs: of training, at least 2.
        data: dataset that is trained on beside ultralytics.
        train_imgsz: side of the images of training beside ultralytics, in pixels.
        eval_images: number of images that are scored.
        objects365: open an annotation file of the size of Objects365's as well.
    """

    weights: tuple[Path, ...] = ()
    source: Path | None = None
    imgsz: int = 640
    device: str = "cpu"
    rounds: int = 3
    frames: int = 20_000
    batches: tuple[int, ...] = (1, 8)
    windows: tuple[int, ...] = (7, 8)
    cfgs: tuple[str, ...] = CFGS
    per_row: bool = False
    batch_size: int = 8
    epochs: int = 3
    data: str = "demo.yaml"
    train_imgsz: int = 320
    eval_images: int = 5000
    objects365: bool = False


def _video(settings: Settings) -> Iterator[Table]:
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        source = settings.source or drawn_video(Path(folder) / "drawn.avi", 100, (768, 576))
        for weights in settings.weights or (_fresh(Path(folder) / "yolov5s.pt"),):
            yield video(VideoSettings(weights, source, settings.imgsz, settings.device, settings.rounds))


def _fresh(file: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"model": build_model(f"{file.stem}.yaml")}, file)
    return file


def _long_video(settings: Settings) -> Iterator[Table]:
    yield long_video(settings.frames, device=settings.device)


def _layers(settings: Settings) -> Iterator[Table]:
    square = (settings.imgsz, settings.imgsz)
    flat = (settings.imgsz, max(STRIDE, settings.imgsz * 3 // 5 // STRIDE * STRIDE))  # 640 x 384
    device = choose_device(settings.device)
    yield from layers(LayerSettings((square, flat), settings.batches, settings.windows, device, settings.rounds))


def _models(settings: Settings) -> Iterator[Table]:
    asked = (settings.cfgs, settings.imgsz, settings.device, settings.rounds, settings.batch_size, settings.per_row)
    yield from models(ModelsSettings(*asked))


def _training(settings: Settings) -> Iterator[Table]:
    yield training(
        TrainingSettings(
            settings.cfgs[0],
            settings.data,
            imgsz=settings.train_imgsz,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            device=settings.device,
            rounds=settings.rounds,
        )
    )


def _evaluation(settings: Settings) -> Iterator[Table]:
    yield evaluation(EvaluationSettings(DrawnSet(settings.eval_images), settings.device, settings.rounds))
    yield intervals(IntervalSettings())


def _index(settings: Settings) -> Iterator[Table]:
    yield from index(IndexSettings(larger=OBJECTS365 if settings.objects365 else None, rounds=settings.rounds))


def _loader(settings: Settings) -> Iterator[Table]:
    yield from loader(LoaderSettings(imgsz=settings.imgsz, rounds=settings.rounds))


SECTIONS: dict[str, Callable[[Settings], Iterator[Table]]] = {
    "layers": _layers,
    "models": _models,
    "training": _training,
    "evaluation": _evaluation,
    "index": _index,
    "loader": _loader,
    "video": _video,
    "long-video": _long_video,
}


# What sections import beyond what the package needs.
PACKAGES = {
    "layers": ("timm", "transformers"),
    "video": (*FORMATS["onnx"], *FORMATS["openvino"]),
    "long-video": ("lap",),
}


def check(sections: Sequence[str], settings: Settings) -> None:
    """Raise InputError for what a section would stumble over after hours, as far as it can be told at once."""
    for section in sections:
        require(f"--sections {section}", *PACKAGES.get(section, ()))
    if {"layers", "models"} & set(sections):
        check_side("--imgsz", settings.imgsz, STRIDE)
    if "training" in sections:
        check_side("--train-imgsz", settings.train_imgsz, STRIDE)
        load_config(settings.data)
    for cfg in settings.cfgs if "models" in sections else settings.cfgs[:1] if "training" in sections else ():
        read_model_yaml(cfg)


def benchmark(sections: Sequence[str], settings: Settings, *, save_dir: Path, command: str) -> Iterator[Table]:
    """Measure, and write benchmark.json and benchmark.md anew after every table.

    Args:
        sections: keys of `SECTIONS`.
        settings: what to measure.
        save_dir: folder to write to; made if missing.
        command: what was typed, for the report.

    Yields:
        Each table.
    """
    save_dir.mkdir(parents=True, exist_ok=True)
    head = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": versions(),
    }
    tables: list[Table] = []
    for section in sections:
        for table in SECTIONS[section](settings):
            tables.append(table)
            write_json(save_dir / "benchmark.json", {**head, "tables": [t.as_json() for t in tables]}, indent=2)
            with written_whole(save_dir / "benchmark.md") as unfinished:
                unfinished.write_text(as_markdown(head, tables), encoding="utf-8")
            yield table


def as_markdown(head: dict, tables: Sequence[Table]) -> str:
    """The whole report as a page."""
    here = head["machine"]
    gpu = f", {here['gpu']}" if here["gpu"] else ""
    where = f"{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB{gpu}"
    used = ", ".join(f"{name} {number}" for name, number in head["versions"].items())
    lines = ["```bash", head["command"], "```", "", f"{where}; {used}.", ""]
    return "\n".join([*lines, "\n\n".join(table.as_markdown() for table in tables), ""])
