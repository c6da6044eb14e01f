"""Scoring a model on a split of a dataset: one public function, from weights to metrics.json."""

import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
from ultralytics.utils import TQDM

from swin_yolo.data.coco import CocoIndex
from swin_yolo.engine.backend import Backend
from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.model import count_gflops, count_parameters
from swin_yolo.engine.pictures import draw_evaluation
from swin_yolo.engine.precision import open_in
from swin_yolo.engine.slicing import Slicing
from swin_yolo.engine.split_detections import detect_all, detect_all_sliced
from swin_yolo.errors import InputError
from swin_yolo.files import sha256, write_json
from swin_yolo.scoring.average_precision import CocoScore, load_predictions, score_detections


@dataclass(frozen=True)
class Evaluation:
    """A score, what metrics.json holds, the folder written and the pictures in it."""

    score: CocoScore
    metrics: dict[str, Any]
    save_dir: Path
    pictures: list[Path]


def evaluate(
    weights: str | Path,
    data: str | Path,
    *,
    save_dir: Path,
    task: str = "val",
    imgsz: int = 640,
    batch_size: int = 16,
    device: str = "",
    workers: int = 2,
    conf_thres: float = 0.001,
    iou_thres: float = 0.7,
    max_det: int = 300,
    precision: str = "fp32",
    slicing: Slicing | None = None,
    save_json: bool = True,
    plots: bool = True,
    trust: bool = False,
) -> Evaluation:
    """Score a model by pycocotools, at the images' original sizes.

    Writes metrics.json, predictions.json (COCO results, the dataset's own image and category ids), PR curves, the
    confusion matrix and predictions beside ground truth into `save_dir`.

    Args:
        weights: checkpoint or exported model, as `open_backend` takes them. Of an exported model, metrics.json has no
            params and gflops, which its file does not say; one with NMS in it keeps the thresholds of its export.
        data: dataset YAML, folder or shipped name.
        save_dir: folder to write to; made if missing.
        task: name of the split.
        imgsz: longer side the images are scaled to, in pixels.
        batch_size: images per batch.
        device: as ultralytics names devices; "" takes the first GPU, or the CPU.
        workers: processes that load images.
        conf_thres: detections below this score are left out.
        iou_thres: IoU above which NMS removes the weaker of two boxes.
        max_det: most detections an image may have.
        precision: to infer in: fp32, bf16, fp16 (on a GPU), or auto for the fastest here, by a short measurement.
        slicing: look at overlapping parts of each image too, as `detect` does.
        save_json: write predictions.json.
        plots: draw curves and pictures.
        trust: run whatever code the checkpoint holds.

    Raises:
        InputError: if weights, data, device or imgsz cannot be used, or do not fit each other.
    """
    start = time.time()
    chosen = choose_device(device)
    index: CocoIndex = load_splits(data, (task,))[task]
    backend = open_in(precision, weights, device=chosen, trust=trust, imgsz=imgsz, measure_hw=(imgsz, imgsz))
    category_id_of = match_classes(weights, backend.names, index)
    run = detect_all if slicing is None else partial(detect_all_sliced, slicing=slicing)
    detections = run(
        backend,
        index,
        category_id_of,
        imgsz=imgsz,
        batch_size=batch_size,
        workers=workers,
        conf_thres=conf_thres,
        iou_thres=iou_thres,
        max_det=max_det,
    )
    with _bar("matching") as progress:
        score = score_detections(index.to_coco(), detections, progress=progress)
    metrics = {
        **_metrics(score, index),
        **_cost(backend, imgsz),
        "imgsz": imgsz,
        "batch_size": batch_size,
        "thresholds": {"conf": conf_thres, "iou": iou_thres, "max_det": max_det},
        "precision": backend.precision,
        "slice": None if slicing is None else {"side": slicing.side, "overlap": slicing.overlap},
        "split": task,
        "seconds": round(time.time() - start, 2),
        "weights": {"file": str(weights), "sha256": model_sha256(Path(weights))},
    }
    save_dir.mkdir(parents=True, exist_ok=True)
    write_json(save_dir / "metrics.json", metrics, indent=2)
    if save_json:
        write_json(save_dir / "predictions.json", detections)
    pictures = draw_evaluation(save_dir, index, detections, score) if plots else []
    return Evaluation(score, metrics, save_dir, pictures)


def evaluate_predictions(predictions: str | Path, annotations: str | Path, *, save_dir: Path) -> Evaluation:
    """Score a finished COCO results file without a model; writes metrics.json as `evaluate` does, without a cost.

    Args:
        predictions: COCO results: a list of image_id, category_id, bbox (left, top, width, height), score.
        annotations: the COCO annotations it is of; the images need not be there.
        save_dir: folder to write to; made if missing.

    Raises:
        InputError: if either file cannot be used.
    """
    start = time.time()
    predictions, annotations = Path(predictions), Path(annotations)
    index = CocoIndex.from_json(annotations, annotations.parent)
    truth = index.to_coco()
    with _bar("matching") as progress:
        score = score_detections(truth, load_predictions(predictions, truth), progress=progress)
    metrics = {
        **_metrics(score, index),
        "seconds": round(time.time() - start, 2),
        "predictions": {"file": str(predictions), "sha256": sha256(predictions)},
    }
    save_dir.mkdir(parents=True, exist_ok=True)
    write_json(save_dir / "metrics.json", metrics, indent=2)
    return Evaluation(score, metrics, save_dir, [])


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how many of something are done, in a bar that is not there before it is called."""
    bars: list[Any] = []
    stream = sys.stdout  # scoring keeps from printing meanwhile

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(TQDM(desc=what, total=total, file=stream))
        bars[0].update(done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


def _metrics(score: CocoScore, index: CocoIndex) -> dict[str, Any]:
    """The part of metrics.json that any score has."""
    return {
        **score.metrics,
        "per_class": score.per_class,
        "images": len(index),
        "data": {"annotations": str(index.annotations_file), "sha256": sha256(index.annotations_file)},
        "versions": versions(),
    }


def _cost(backend: Backend, imgsz: int) -> dict[str, float]:
    """Parameters and GFLOPs of a model, where they can be counted."""
    if backend.model is None:
        return {}
    return {"params": count_parameters(backend.model), "gflops": round(count_gflops(backend.model, imgsz), 3)}


def model_sha256(weights: Path) -> str:
    """Hash of a file; of the folder of an exported model, that of its file of weights.

    Raises:
        InputError: if a folder has none.
    """
    file = next(weights.glob("*.bin"), None) if weights.is_dir() else weights
    if file is None:
        raise InputError(f"--weights {weights}: expected a file, or the folder of an exported model")
    return sha256(file)


def match_classes(weights: str | Path, names: dict[int, str], index: CocoIndex) -> dict[int, int]:
    """category_id of each class index of a model: the dataset's class of the same name.

    Raises:
        InputError: if the model lacks a class of the dataset.
    """
    category_id_by_name = dict(zip(index.names, index.category_ids, strict=True))
    if missing := [name for name in index.names if name not in names.values()]:
        raise InputError(
            f"--weights {weights}: the model has no class {', '.join(missing)} of {index.annotations_file}; "
            f"its {len(names)} classes are {', '.join(list(names.values())[:20])}"
        )
    return {i: category_id_by_name[name] for i, name in names.items() if name in category_id_by_name}


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    packages = {name: version(name) for name in ("swin-yolo", "torch", "ultralytics", "pycocotools", "numpy")}
    # OpenCV's own word: it comes in packages of several names.
    return {"python": platform.python_version(), **packages, "opencv": cv2.__version__}
