"""Every run's checkpoint on the split that is compared on, scored once and kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_yolo.engine.evaluate import evaluate, model_sha256, versions
from swin_yolo.errors import InputError
from swin_yolo.files import sha256, write_json
from swin_yolo.scoring.average_precision import CocoScore

# Written last, so that a folder with it is whole.
_KEPT = "kept.json"


@dataclass(frozen=True)
class Settings:
    """How checkpoints are scored; see `evaluate`. `annotations` is the split's COCO JSON."""

    data: str
    annotations: Path
    task: str = "val"
    imgsz: int = 640
    batch_size: int = 16
    device: str = ""
    workers: int = 2
    trust: bool = False


@dataclass(frozen=True)
class Scored:
    """A checkpoint and its score.

    Attributes:
        weights: what was scored.
        sha256: of it.
        metrics: the content of metrics.json.
        precision: by class name, 101 precisions at IoU 0.50 and recalls 0, 0.01 .. 1.
        folder: holds metrics.json and predictions.json.
    """

    weights: Path
    sha256: str
    metrics: dict[str, Any]
    precision: dict[str, list[float]]
    folder: Path

    def detections(self) -> list[dict[str, Any]]:
        """COCO results entries; read anew at each call, since those of many runs may be more than fits in memory."""
        return json.loads((self.folder / "predictions.json").read_bytes())


def score(weights: Path, folder: Path, settings: Settings) -> Scored:
    """Score a checkpoint into `folder`, or take what is there of the same weights, annotations and settings.

    Raises:
        InputError: see `evaluate`.
    """
    if not weights.exists():
        raise InputError(f"--weights {weights}: no such file")
    asked = _asked(weights, settings)
    kept = _read(folder / _KEPT)
    if kept.get("asked") != asked or not (folder / "predictions.json").is_file():
        (folder / _KEPT).unlink(missing_ok=True)  # of other weights or settings, whose files are written over now
        done = evaluate(
            weights,
            settings.data,
            save_dir=folder,
            task=settings.task,
            imgsz=settings.imgsz,
            batch_size=settings.batch_size,
            device=settings.device.split(",")[0],
            workers=settings.workers,
            plots=False,
            trust=settings.trust,
        )
        kept = {"asked": asked, "precision": _precision(done.score)}
        write_json(folder / _KEPT, kept)
    return Scored(weights, asked["sha256"], dict(_read(folder / "metrics.json")), kept["precision"], folder)


def _asked(weights: Path, settings: Settings) -> dict[str, Any]:
    """What a score depends on."""
    return {
        "sha256": model_sha256(weights),
        "annotations": sha256(settings.annotations),
        "task": settings.task,
        "imgsz": settings.imgsz,
        "batch_size": settings.batch_size,  # images are padded to the shape of their batch
        "versions": versions(),
    }


def _precision(score: CocoScore) -> dict[str, list[float]]:
    return {name: row.tolist() for name, row in zip(score.names, score.precision, strict=True)}


def _read(file: Path) -> Mapping[str, Any]:
    """A JSON object; an empty one where the file is not there, or was begun by something else."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
