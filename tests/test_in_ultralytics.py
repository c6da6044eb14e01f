"""Our rows in whole models, through the public face of ultralytics."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import YAML
from yaml_rows import tiny_yaml, ultralytics_log, unwrapped

import swin_yolo
from swin_yolo.nn import C3STR, SwinStage
from swin_yolo.nn.register import _check_row

ULTRALYTICS = Path(ultralytics.__file__).parent


def run_python(code: str, cwd: Path) -> str:
    """Output of a fresh Python in `cwd` that can import the package, and has done so only if the code does."""
    path = os.pathsep.join([str(Path(swin_yolo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("file", sorted((ULTRALYTICS / "cfg/models").rglob("*.yaml")), ids=lambda file: file.stem)
def test_rows_of_ultralytics_own_yamls_are_let_through(file):
    d = YAML.load(file)
    for row in (*d["backbone"], *d["head"]):
        _check_row(file.name, row)


@pytest.mark.parametrize("name", ["yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_vanilla_yamls_parse_as_without_us(name):
    d = tasks.yaml_model_load(name)
    assert d == unwrapped("yaml_model_load")(name)
    seen, weights = [], []
    for parse_model in (tasks.parse_model, unwrapped("parse_model")):
        torch.manual_seed(0)
        with ultralytics_log() as logged:
            layers, save = parse_model(deepcopy(d), 3)
        rows = [(m.type, m.f, m.i, m.np) for m in layers]
        seen.append((rows, save, str(layers), logged))
        weights.append(layers.state_dict())
    assert seen[0] == seen[1] and len(seen[0][3]) > len(layers)
    assert list(weights[0]) == list(weights[1])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
@pytest.mark.parametrize("family", ["v8/yolov8", "11/yolo11", "26/yolo26"], ids=lambda family: family.split("/")[1])
def test_our_rows_work_in_other_yolos(family, task, tmp_path):
    suffix = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}[task]
    theirs = YAML.load(ULTRALYTICS / f"cfg/models/{family}{suffix}.yaml")
    before = [list(row) for row in theirs["backbone"]]
    for row, name in ((6, "SwinStage"), (8, "C3STR")):
        assert before[row][2] in ("C2f", "C3k2")
        theirs["backbone"][row] = [-1, 3, name, before[row][3][:1]]
    stem = family.split("/")[1]
    YAML.save(tmp_path / f"{stem}-own.yaml", theirs)
    own = YOLO(tmp_path / f"{stem}n-own.yaml")
    vanilla = YOLO(f"{stem}n{suffix}.yaml").model
    assert own.task == task
    assert [type(own.model.model[i]) for i in (6, 8)] == [SwinStage, C3STR]
    assert own.model.save == vanilla.save and torch.equal(own.model.stride, vanilla.stride)
    for layer, other in zip(own.model.model, vanilla.model, strict=True):
        assert layer.i in (6, 8) or (layer.type, layer.np) == (other.type, other.np)
    x = torch.rand(2, 3, 64, 96)
    own.model.train()(x)
    with torch.inference_mode():
        ours, expected = own.model.eval()(x), vanilla.eval()(x)
    assert _shapes(ours) == _shapes(expected)


def _shapes(output):
    if isinstance(output, torch.Tensor):
        return tuple(output.shape)
    items = output.items() if isinstance(output, dict) else enumerate(output)
    return {key: _shapes(value) for key, value in items}


@pytest.mark.parametrize("folder", ["models", "run2s", "exp5n/v8x"])
@pytest.mark.parametrize("file", ["yolov5-own.yaml", "yolov5s-own.yaml"])
def test_a_user_s_yaml_is_read_from_any_folder(folder, file, tmp_path, monkeypatch):
    row = [-1, 2, "SwinStage", [128, {"window_size": 4}]]
    (tmp_path / folder).mkdir(parents=True)
    d = {"nc": 2, "scales": {k: [0.5, w, 1024] for k, w in (("n", 0.25), ("s", 0.5))}}
    YAML.save(tmp_path / folder / file, d | {k: tiny_yaml(row)[k] for k in ("backbone", "head")})
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / folder / "yolov5s-own.yaml", Path(folder) / "yolov5s-own.yaml"):
        model = YOLO(path).model
        assert type(model.model[3]) is SwinStage and model.model[3].blocks[0].attn.dim == 64
        assert model.yaml["scale"] == "s" and model.yaml["yaml_file"] == str(path)


def test_a_shipped_yaml_is_found_by_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = YOLO("yolov5s-c3str.yaml").model
    assert type(model.model[8]) is C3STR and model.yaml["scale"] == "s"
    assert not any(tmp_path.iterdir())


def test_a_user_s_yaml_goes_before_a_shipped_one(tmp_path, monkeypatch):
    YAML.save(
        tmp_path / "yolov5-swin.yaml", {k: v for k, v in tiny_yaml([-1, 2, "C3STR", [128]]).items() if k != "scale"}
    )
    monkeypatch.chdir(tmp_path)
    assert type(YOLO("yolov5n-swin.yaml").model.model[3]) is C3STR


@pytest.mark.parametrize("name", ["yolov5n-nothing.yaml", "somewhere/yolov5n-swin.yaml"])
def test_a_yaml_that_is_nowhere_is_not_found(name):
    with pytest.raises(FileNotFoundError, match=Path(name).stem.replace("5n", "5")):
        tasks.yaml_model_load(name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Folder of a one-epoch run by ultralytics' own train(), on four images in YOLO's layout."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for i in range(4):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        image[10:30, 10:40] = 255
        cv2.imwrite(str(folder / f"images/{i}.jpg"), image)
        (folder / f"labels/{i}.txt").write_text("0 0.39 0.416 0.469 0.416\n")
    data = {"path": str(folder), "train": "images", "val": "images", "names": {0: "box"}}
    YAML.save(folder / "data.yaml", data)
    run_python(
        "import swin_yolo\n"
        "from ultralytics import YOLO\n"
        'YOLO("yolov5n-c3str.yaml").train(data="data.yaml", epochs=1, imgsz=64, batch=4, workers=0, plots=False,'
        f' device="cpu", project={str(folder)!r}, name="run")',
        folder,
    )
    return folder


def test_ultralytics_own_train_writes_weights(trained):
    assert {"best.pt", "last.pt"} <= {file.name for file in (trained / "run/weights").iterdir()}
    assert len((trained / "run/results.csv").read_text().splitlines()) == 2


def test_trained_weights_load_in_a_process_that_imports_ultralytics_only(trained, tmp_path):
    code = f"""
import json, sys
from ultralytics import YOLO
assert "swin_yolo" not in sys.modules
model = YOLO({str(trained / "run/weights/best.pt")!r})
layer = model.model.model[8]
[result] = model.predict({str(trained / "images/0.jpg")!r}, imgsz=64, conf=0.0001, verbose=False)
print(json.dumps([type(layer).__name__, layer.i, layer.type, len(result.boxes), result.names]))
model = YOLO({str(trained / "run/weights/last.pt")!r})
print(model.val(data={str(trained / "data.yaml")!r}, imgsz=64, workers=0, plots=False, device="cpu").box.map)
"""
    lines = run_python(code, tmp_path).splitlines()
    name, i, kind, boxes, names = next(json.loads(line) for line in lines if line.startswith("["))
    assert (name, i, kind, names) == ("C3STR", 8, "swin_yolo.nn.c3str.C3STR", {"0": "box"})
    assert boxes > 0 and 0 <= float(lines[-1]) <= 1
