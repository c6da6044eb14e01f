"""A COCO set that trains in seconds, and one training run on it that many tests look at.

Coloured rectangles on grey noise, two classes with category ids 3 and 7. The first image of a split holds one block
that nearly fills it, which even a barely trained detector hits: scores of it are not all zero.
"""

import contextlib
import functools
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
import yaml

from swin_yolo.cli import main
from swin_yolo.engine.evaluate import evaluate

CATEGORIES = [{"id": 7, "name": "bar"}, {"id": 3, "name": "block"}]
NAMES = {0: "block", 1: "bar"}  # by class index
COLOURS = {3: (40, 60, 220), 7: (210, 140, 30)}  # BGR
SIZES_WH = ((96, 64), (64, 96), (80, 80))
IMAGES = {"train": 12, "val": 6, "test": 1}
FIRST_IMAGE_ID = {"train": 500, "val": 100, "test": 900}

# Of the shared run, and of those compared with it. 12 images in batches of 4 are 3 batches an epoch.
ARGUMENTS: dict[str, Any] = {"imgsz": 64, "epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu"}
BATCHES = 3


def make_tiny(folder: Path) -> Path:
    """Draw the set into `folder` and give its dataset YAML.

    The second image of train and of val has no boxes, the third has a crowd.
    """
    for split in IMAGES:
        write_split(folder, split)
    file = folder / "tiny.yaml"
    splits = {split: {"images": split, "annotations": f"{split}.json"} for split in IMAGES}
    file.write_text(yaml.safe_dump({"path": ".", **splits}))
    return file


def write_split(folder: Path, split: str) -> None:
    rng = np.random.default_rng(FIRST_IMAGE_ID[split])
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
    (folder / split).mkdir(parents=True)
    for i in range(IMAGES[split]):
        width, height = SIZES_WH[i % len(SIZES_WH)]
        image_id, name = FIRST_IMAGE_ID[split] + 10 * i, f"{split}_{i}.png"
        pixels = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
        for category_id, (x, y, w, h) in boxes_of(i, width, height, rng):
            cv2.rectangle(pixels, (x, y), (x + w - 1, y + h - 1), COLOURS[category_id], -1)
            annotation = {"id": len(content["annotations"]), "image_id": image_id, "category_id": category_id}
            annotation |= {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(i == 2 and category_id == 7)}
            content["annotations"].append(annotation)
        cv2.imwrite(str(folder / split / name), pixels)
        content["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
    (folder / f"{split}.json").write_text(json.dumps(content))


def boxes_of(i: int, width: int, height: int, rng: np.random.Generator) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Category id and box (left, top, width, height) of every object in image i of a split."""
    if i == 0:
        yield 3, (1, 1, width - 2, height - 2)
    elif i != 1:
        for category_id, side in ((3, int(rng.integers(24, 36))), (7, 16)):
            w, h = int(rng.integers(24, 50)), side
            yield category_id, (int(rng.integers(0, width - w)), int(rng.integers(0, height - h)), w, h)


class Run(NamedTuple):
    """A finished run: its folder, its dataset YAML, what the command printed, and the dataset's files before it."""

    folder: Path
    data: Path
    printed: str
    files_before: dict[str, bytes]

    @property
    def best(self) -> Path:
        return self.folder / "weights" / "best.pt"

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def detections(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "predictions.json").read_text())


@functools.cache
def tiny_set(basetemp: Path) -> Path:
    """The dataset YAML, drawn once into pytest's folder of this session."""
    return make_tiny(basetemp / "tiny")


@functools.cache
def trained(basetemp: Path) -> Run:
    """Two epochs of yolov5n-swin by the command line, run once whichever tests ask for it."""
    data, project = tiny_set(basetemp), basetemp / "runs" / "train"
    before = contents(data.parent)
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in ARGUMENTS.items()]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main(["train", "--cfg=yolov5n-swin.yaml", f"--data={data}", f"--project={project}", *argv])
    assert code == 0
    return Run(project / "exp", data, printed.getvalue(), before)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, by name."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training runs draw nothing, which takes as long as they do."""
    monkeypatch.setattr("swin_yolo.engine.train.evaluate", functools.partial(evaluate, plots=False))
    monkeypatch.setattr("swin_yolo.engine.train.draw_curves", lambda save_dir: save_dir / "results.png")
    monkeypatch.setattr("swin_yolo.engine.train.draw_labels", lambda save_dir, index: save_dir / "labels.png")
    monkeypatch.setattr("swin_yolo.engine.trainer.CocoTrainer.plot_training_samples", lambda self, batch, ni: None)


def checkpoint(file: Path) -> dict[str, Any]:
    return torch.load(file, map_location="cpu", weights_only=False)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """results.csv of a run folder."""
    head, *rows = (folder / "results.csv").read_text().splitlines()
    return [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows]
