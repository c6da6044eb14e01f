import inspect
import json
import logging
import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import ultralytics
from torch import nn
from ultralytics import YOLO
from ultralytics.engine import model as ultralytics_model
from ultralytics.nn import tasks
from ultralytics.nn.modules import C3, Conv
from ultralytics.utils import LOGGER, YAML

import swin_yolo
from swin_yolo.errors import InputError
from swin_yolo.nn import C3STR, LayerNorm2d, PatchEmbed, PatchMerging, SwinStage, register

ULTRALYTICS = Path(ultralytics.__file__).parent
LAYERS = {"SwinStage": SwinStage, "C3STR": C3STR, "PatchEmbed": PatchEmbed, "PatchMerging": PatchMerging}


def tiny(row, *, at=3, **keys) -> dict:
    """Model dictionary of a few rows, one of them given; depth and width are halved."""
    rows = [
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 4, "C3", [128]],
        [-1, 1, "Conv", [64, 1]],
    ]
    rows[at] = row
    return {"nc": 2, "scales": {"n": [0.5, 0.5, 1024]}, "scale": "n", "backbone": rows, **keys} | {
        "head": [[[at, -1], 1, "Detect", [2]]],
        "yaml_file": "own.yaml",
    }


def parse(row, **keys) -> nn.Sequential:
    return tasks.parse_model(tiny(row, **keys), 3, verbose=False)[0]


@pytest.fixture
def logged():
    """Lines that ultralytics logs."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.extend(record.getMessage().splitlines())
    LOGGER.addHandler(handler)
    yield lines
    LOGGER.removeHandler(handler)


def run_python(code: str, cwd: Path) -> str:
    """Output of a fresh Python in `cwd` that can import the package, and has done so only if the code does."""
    path = os.pathsep.join([str(Path(swin_yolo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


# What a row becomes


@pytest.mark.parametrize("name", ["SwinStage", "C3STR"])
def test_a_row_like_c3_scales_channels_and_depth(name):
    layer = parse([-1, 8, name, [128]])[3]
    stage = layer if name == "SwinStage" else layer.m
    assert type(layer) is LAYERS[name]
    assert len(stage.blocks) == 4
    assert layer(torch.rand(1, 32, 5, 7)).shape == (1, 64, 5, 7)


@pytest.mark.parametrize("name", ["PatchEmbed", "PatchMerging"])
def test_a_row_like_conv_scales_channels(name):
    layer = parse([-1, 1, name, [128]])[3]
    assert type(layer) is LAYERS[name]
    assert layer(torch.rand(1, 32, 8, 8)).shape[:2] == (1, 64)


@pytest.mark.parametrize(("source", "channels"), [(-1, 32), (0, 16), (-3, 16), (1, 32), (2, 32)])
def test_a_norm_has_the_channels_of_the_row_it_reads(source, channels):
    model, save = tasks.parse_model(tiny([source, 1, "LayerNorm2d", []]), 3, verbose=False)
    assert type(model[3]) is LayerNorm2d and model[3].normalized_shape == (channels,)
    assert model[4].conv.in_channels == channels and len(model) == 6
    assert save == sorted({3} | ({source % 3} - {2} if source != -1 else set()) | ({2} if source == 2 else set()))


def test_a_norm_has_the_channels_of_a_concat():
    d = tiny([[-1, 0], 1, "Concat", [1]])
    d["backbone"][4] = [3, 1, "LayerNorm2d", [1e-3]]
    norm = tasks.parse_model(d, 3, verbose=False)[0][4]
    assert norm.normalized_shape == (48,) and norm.eps == 1e-3


def test_max_channels_bounds_our_rows_too():
    assert parse([-1, 2, "SwinStage", [4096]])[3](torch.rand(1, 32, 3, 3)).shape[1] == 512


@pytest.mark.parametrize(
    ("args", "keywords"),
    [
        ([128, 4], {"window_size": 4}),
        ([128, 4, 2.0], {"window_size": 4, "mlp_ratio": 2.0}),
        ([128, 7, 4.0, True], {"local": True}),
        ([128, 7, 4.0, False, 4], {"num_heads": 4}),
        ([128, "7", "4.0", "True", "None"], {"local": True}),
    ],
    ids=str,
)
def test_arguments_are_taken_by_place_and_by_name(args, keywords):
    placed, named, plain = (_settings(parse([-1, 2, "SwinStage", a])[3]) for a in (args, [128, keywords], [128]))
    assert placed == named != plain


def _settings(stage):
    return [(b.attn.window_size, b.attn.num_heads, b.mlp.fc1.out_features, b.local is None) for b in stage.blocks]


def test_a_row_carries_the_parser_s_bookkeeping():
    layer = parse([1, 2, "C3STR", [128, False]])[3]
    assert (layer.i, layer.f, layer.type) == (3, 1, "swin_yolo.nn.c3str.C3STR")
    assert layer.np == sum(p.numel() for p in layer.parameters())
    assert layer.shortcut is False


def test_convs_of_c3str_have_the_yaml_s_activation():
    own = parse([-1, 2, "C3STR", [128]], activation="torch.nn.ReLU()")[3]
    assert {type(conv.act) for conv in (own.cv1, own.cv2, own.cv3)} == {nn.ReLU}
    assert type(Conv.default_act) is type(parse([-1, 2, "C3STR", [128]])[3].cv1.act) is nn.SiLU


def test_parsing_leaves_the_dictionary_as_it_was():
    d = tiny([-1, 2, "SwinStage", [128, {"local": True}]])
    row = deepcopy(d["backbone"][3])
    tasks.parse_model(d, 3, verbose=False)
    assert d["backbone"][3] == row and len(d["head"]) == 1


def test_the_summary_shows_our_rows(logged):
    rows = [
        [-1, 8, "SwinStage", [128, {"local": True}]],
        [-1, 2, "C3STR", [128]],
        [0, 1, "LayerNorm2d", []],
        [-1, 1, "PatchMerging", [128]],
    ]
    d = tiny(rows[0])
    d["backbone"][3:4] = rows
    model, _ = tasks.parse_model(d, 3)
    lines = [line for line in logged if re.match(r"\s*\d+ ", line)]
    assert [int(line.split()[0]) for line in lines] == list(range(len(model)))
    for i, (source, repeats, name, _) in enumerate(rows, start=3):
        assert lines[i].split()[:4] == [str(i), str(source), str(repeats // 2 or 1), str(model[i].np)], lines[i]
        assert f"swin_yolo.nn.{type(model[i]).__module__.rsplit('.')[-1]}.{name} " in lines[i]
    assert "[32, 64, 4, {'local': True}]" in lines[3]
    assert not re.search(r"block\.C3 |Identity|BatchNorm2d", "\n".join(lines))


def test_the_summary_can_be_turned_off(logged):
    parse([-1, 2, "SwinStage", [128]])
    assert not logged


# Wrong rows


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            [-1, 2, "SwinStage", [128, {"num_heads": 5}]],
            r"\(SwinStage\): dim must be divisible by num_heads, got dim=64",
        ),
        ([-1, 2, "SwinStage", [128, 0]], r"\(SwinStage\): window_size must be a positive integer, got 0"),
        ([-1, 2, "C3STR", [128, True, 0]], r"\(C3STR\): window_size must be a positive integer, got 0"),
        ([-1, 2, "C3STR", [128, 7]], r"\(C3STR\): shortcut must be True or False, got 7"),
        (
            [-1, 2, "SwinStage", [128, {"zero_init": True}]],
            "zero_init needs as many channels out as in, got c1=32, c2=64",
        ),
        (
            [-1, 2, "SwinStage", [128, {"windw": 7}]],
            r"unexpected keyword argument 'windw'; its arguments are \[c2, window_",
        ),
        (
            [-1, 2, "C3STR", [128, True, 7, 4.0, False, 0.5, 1]],
            r"too many .*; its arguments are \[c2, shortcut=True, win",
        ),
        ([-1, 1, "PatchEmbed", [128, -4]], r"\(PatchEmbed\): patch_size must be a positive integer, got -4"),
        ([-1, 2, "SwinStge", [128]], "unknown layer 'SwinStge'; ours are SwinStage, C3STR, PatchEmbed"),
        ([-1, 2, ["SwinStage"], [128]], r"unknown layer \['SwinStage'\]"),
        ([-1, 2, "SwinStage", []], r"SwinStage expected \[c2, ...\] with the output channels first, got \[\]"),
        ([-1, 2, "C3STR", [True]], r"C3STR expected \[c2, ...\] with the output channels first, got \[True\]"),
        ([-1, 1, "PatchMerging", [{"c2": 128}]], r"PatchMerging expected \[c2, ...\]"),
        ([-1, 2, "SwinStage"], r"expected \[from, repeats, layer, \[arguments\]\], got \[-1, 2, 'SwinStage'\]"),
        ([[-1], 2, "SwinStage", [128]], r"SwinStage expected one row number as 'from', got \[-1\]"),
        ([[-1, 0], 1, "LayerNorm2d", []], r"LayerNorm2d expected one row number as 'from', got \[-1, 0\]"),
        ([-1, 2, "PatchEmbed", [128]], "PatchEmbed expected 1 repeat, got 2"),
        ([-1, 2, "LayerNorm2d", []], "LayerNorm2d expected 1 repeat, got 2"),
        ([-1, 0, "SwinStage", [128]], "SwinStage expected a depth of at least 1, got 0"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_a_wrong_row_is_named(row, expected):
    with pytest.raises(InputError, match=expected) as caught:
        parse(row)
    message = str(caught.value)
    assert message.startswith("own.yaml: row 3") and "\n" not in message


def test_a_wrong_row_of_a_file_names_the_file(tmp_path):
    file = tmp_path / "yolov5-wrong.yaml"
    YAML.save(file, {k: v for k, v in tiny([-1, 2, "SwinStage", [128, 0]]).items() if k not in ("scale", "yaml_file")})
    with pytest.raises(InputError, match=rf"{re.escape(str(file))}: row 3 \(SwinStage\): window_size must be"):
        YOLO(file)


# Any YAML


@pytest.mark.parametrize("file", sorted((ULTRALYTICS / "cfg/models").rglob("*.yaml")), ids=lambda file: file.stem)
def test_rows_of_ultralytics_own_yamls_are_let_through(file):
    from swin_yolo.nn.register import _check_row

    d = YAML.load(file)
    for row in (*d["backbone"], *d["head"]):
        _check_row(file.name, row)


@pytest.mark.parametrize("name", ["yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_vanilla_yamls_parse_as_without_us(name, logged):
    d = tasks.yaml_model_load(name)
    assert d == unwrapped("yaml_model_load")(name)
    seen, weights = [], []
    for parse_model in (tasks.parse_model, unwrapped("parse_model")):
        torch.manual_seed(0)
        layers, save = parse_model(deepcopy(d), 3)
        rows = [(m.type, m.f, m.i, m.np) for m in layers]
        seen.append((rows, save, str(layers), list(logged)))
        weights.append(layers.state_dict())
        logged.clear()
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
    YAML.save(tmp_path / folder / file, d | {k: tiny(row)[k] for k in ("backbone", "head")})
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
    YAML.save(tmp_path / "yolov5-swin.yaml", {k: v for k, v in tiny([-1, 2, "C3STR", [128]]).items() if k != "scale"})
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


# Registration


def test_registering_again_changes_nothing():
    names = ("parse_model", "yaml_model_load", "guess_model_scale")
    before = [getattr(tasks, name) for name in names]
    register()
    assert [getattr(tasks, name) for name in names] == before


@pytest.mark.parametrize("name", ["C3STR", "SwinStage"])
def test_a_taken_name_is_an_error(name, monkeypatch):
    monkeypatch.setattr(tasks, "parse_model", unwrapped("parse_model"))
    monkeypatch.setattr(tasks, name, nn.Identity, raising=False)
    with pytest.raises(RuntimeError, match=f"already has a layer named {name}"):
        register()
    assert tasks.parse_model is unwrapped("parse_model", ultralytics.nn)


@pytest.mark.parametrize("name", ["parse_model", "yaml_model_load", "guess_model_scale"])
def test_a_moved_parser_is_an_error(name, monkeypatch):
    monkeypatch.delattr(tasks, name)
    with pytest.raises(RuntimeError, match=rf"ultralytics.nn.tasks has no {name}; swin_yolo needs ultralytics>=8"):
        register()


# The contract with ultralytics: these fail first when it moves


def unwrapped(name: str, module=tasks):
    """The function of ultralytics that ours of this name calls."""
    return inspect.getclosurevars(getattr(module, name)).nonlocals[name]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("parse_model", ["d", "ch", "verbose"]), ("yaml_model_load", ["path"]), ("guess_model_scale", ["model_path"])],
)
def test_ultralytics_functions_take_what_we_pass(name, arguments):
    function = tasks.guess_model_scale if name == "guess_model_scale" else unwrapped(name)
    assert function.__module__ == "ultralytics.nn.tasks"
    assert list(inspect.signature(function).parameters) == arguments


def test_every_place_that_binds_the_parser_is_known():
    pattern = re.compile(r"\b(parse_model|yaml_model_load)\b")
    places = {str(f.relative_to(ULTRALYTICS)) for f in ULTRALYTICS.rglob("*.py") if pattern.search(f.read_text())}
    assert {Path(place) for place in places} == {Path(p) for p in ("nn/tasks.py", "nn/__init__.py", "engine/model.py")}
    assert ultralytics.nn.parse_model is tasks.parse_model
    assert ultralytics.nn.yaml_model_load is ultralytics_model.yaml_model_load is tasks.yaml_model_load


def test_stand_ins_tell_channels_depth_and_activation():
    layers, save = unwrapped("parse_model")(tiny([-1, 8, "C3", [128]]), 3, verbose=False)
    assert type(layers) is nn.Sequential and save == [3]
    c3, conv = layers[3], layers[2]
    assert type(c3) is C3 and (c3.cv1.conv.in_channels, c3.cv3.conv.out_channels, len(c3.m)) == (32, 64, 4)
    assert type(conv) is Conv and (conv.conv.in_channels, conv.conv.out_channels) == (32, 32)
    assert conv.act is c3.cv1.act is Conv.default_act
    assert all(hasattr(c3, name) for name in ("i", "f", "type", "np"))


def test_identity_keeps_channels_and_a_batch_norm_tells_them():
    d = tiny([0, 1, "nn.Identity", []])
    d["head"].append([3, 1, "nn.BatchNorm2d", []])
    layers, _ = unwrapped("parse_model")(d, 3, verbose=False)
    assert type(layers[3]) is nn.Identity and layers[4].conv.in_channels == layers[6].num_features == 16


def test_ultralytics_summary_has_one_info_line_per_row(logged):
    unwrapped("parse_model")(tiny([-1, 8, "C3", [128]]), 3)
    lines = [line for line in logged if re.match(r"\s*\d+ ", line)]
    assert len(lines) == 6
    expected = f"{3:>3}{-1!s:>20}{4:>3}{64736:10.0f}  {'ultralytics.nn.modules.block.C3':<45}"
    params = unwrapped("parse_model")(tiny([-1, 8, "C3", [128]]), 3, verbose=False)[0][3].np
    assert lines[3].startswith(expected.replace(str(64736), str(params)))
