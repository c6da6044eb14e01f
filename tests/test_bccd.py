"""Two epochs on real photographs, where they are."""

import json

import pytest
import torch
import yaml
from coco_files import SHARED, needs_bccd
from tiny import rows_of

from swin_yolo.engine.evaluate import evaluate
from swin_yolo.engine.model import build_model
from swin_yolo.engine.train import train

IMAGES = 24
ARGUMENTS = {"imgsz": 256, "device": "cpu", "workers": 0}

# 48 steps in all: each must count. The default recipe is for some thousands.
RECIPE = {"lr0": 0.005, "warmup_epochs": 0.0, "mosaic": 0.0, "nbs": 1, "ema_epochs": 0.2, "drop_path": 0.0}


@pytest.fixture
def subset(tmp_path):
    """A dataset YAML of the first 24 photographs, in place of both splits."""
    source = SHARED / "bccd"
    content = json.loads((source / "annotations" / "instances_train.json").read_text())
    images = sorted(content["images"], key=lambda image: image["id"])[:IMAGES]
    ids = {image["id"] for image in images}
    boxes = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    (tmp_path / "subset.json").write_text(json.dumps({**content, "images": images, "annotations": boxes}))
    split = {"images": str(source / "images"), "annotations": "subset.json"}
    (tmp_path / "subset.yaml").write_text(yaml.safe_dump({"path": ".", "train": split, "val": split}))
    return tmp_path / "subset.yaml"


@needs_bccd
def test_two_epochs_on_24_photographs_raise_the_ap(subset, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    trained = train(
        "yolov5n-swin.yaml",
        subset,
        save_dir=tmp_path / "run",
        hyp=tmp_path / "recipe.yaml",
        epochs=2,
        batch_size=1,
        cache="ram",
        **ARGUMENTS,
    )
    fresh = build_model("yolov5n-swin.yaml", nc=3)
    fresh.names = {0: "RBC", 1: "WBC", 2: "Platelets"}
    torch.save({"model": fresh}, tmp_path / "untrained.pt")
    untrained = evaluate(tmp_path / "untrained.pt", subset, save_dir=tmp_path / "val", plots=False, **ARGUMENTS)
    assert untrained.metrics["AP"] < 0.001 < trained.metrics["AP"]
    losses = [float(row["train/box_loss"]) for row in rows_of(tmp_path / "run")]
    assert losses[1] < losses[0]
