"""Two epochs on real photographs, where they are."""

import json

import pytest
import torch
import yaml
from coco_files import SHARED, needs_bccd
from tiny import rows_of

from swin_yolo.engine.evaluate import evaluate
from swin_yolo.engine.export import export
from swin_yolo.engine.model import build_model
from swin_yolo.engine.train import train

IMAGES = 24
ARGUMENTS = {"imgsz": 256, "device": "cpu", "workers": 0}

# 48 steps in all: each must count. The default recipe is for some thousands.
RECIPE = {"lr0": 0.005, "warmup_epochs": 0.0, "mosaic": 0.0, "nbs": 1, "ema_epochs": 0.2, "drop_path": 0.0}


@pytest.fixture(scope="module")
def subset(tmp_path_factory):
    """A dataset YAML of the first 24 photographs, in place of both splits."""
    folder = tmp_path_factory.mktemp("subset")
    source = SHARED / "bccd"
    content = json.loads((source / "annotations" / "instances_train.json").read_text())
    images = sorted(content["images"], key=lambda image: image["id"])[:IMAGES]
    ids = {image["id"] for image in images}
    boxes = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    (folder / "subset.json").write_text(json.dumps({**content, "images": images, "annotations": boxes}))
    split = {"images": str(source / "images"), "annotations": "subset.json"}
    (folder / "subset.yaml").write_text(yaml.safe_dump({"path": ".", "train": split, "val": split}))
    return folder / "subset.yaml"


@pytest.fixture(scope="module")
def trained(subset, tmp_path_factory):
    """Two epochs of training."""
    folder = tmp_path_factory.mktemp("bccd")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    arguments = {"hyp": folder / "recipe.yaml", "epochs": 2, "batch_size": 1, "cache": "ram", **ARGUMENTS}
    return train("yolov5n-swin.yaml", subset, save_dir=folder / "run", **arguments)


@needs_bccd
def test_two_epochs_on_24_photographs_raise_the_ap(subset, trained, tmp_path):
    fresh = build_model("yolov5n-swin.yaml", nc=3)
    fresh.names = {0: "RBC", 1: "WBC", 2: "Platelets"}
    torch.save({"model": fresh}, tmp_path / "untrained.pt")
    untrained = evaluate(tmp_path / "untrained.pt", subset, save_dir=tmp_path / "val", plots=False, **ARGUMENTS)
    assert untrained.metrics["AP"] < 0.001 < trained.metrics["AP"]
    losses = [float(row["train/box_loss"]) for row in rows_of(trained.save_dir)]
    assert losses[1] < losses[0]


@needs_bccd
@pytest.mark.parametrize(("include", "int8", "most"), [("onnx", False, 0.001), ("openvino", True, 0.01)])
def test_an_exported_model_keeps_the_ap(subset, trained, tmp_path, include, int8, most):
    weights = tmp_path / "best.pt"
    weights.write_bytes((trained.save_dir / "weights" / "best.pt").read_bytes())
    calibration = {"int8": True, "data": subset} if int8 else {}
    (exported,) = export(weights, [include], imgsz=ARGUMENTS["imgsz"], dynamic=not int8, **calibration)
    scored = evaluate(exported.file, subset, save_dir=tmp_path / "val", plots=False, **ARGUMENTS)
    assert trained.metrics["AP50"] > 0.01
    for name in ("AP", "AP50"):
        assert abs(scored.metrics[name] - trained.metrics[name]) <= most, name
