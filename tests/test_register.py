import inspect
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics import YOLO
from ultralytics.engine import model as ultralytics_model
from ultralytics.nn import tasks
from ultralytics.nn.modules import C3, Conv
from ultralytics.utils import YAML
from yaml_rows import tiny_yaml, ultralytics_log, unwrapped

from swin_yolo.errors import InputError
from swin_yolo.nn import C3STR, LayerNorm2d, PatchEmbed, PatchMerging, SwinStage, register

ULTRALYTICS = Path(ultralytics.__file__).parent
LAYERS = {"SwinStage": SwinStage, "C3STR": C3STR, "PatchEmbed": PatchEmbed, "PatchMerging": PatchMerging}


def parse(row, **keys) -> nn.Sequential:
    return tasks.parse_model(tiny_yaml(row, **keys), 3, verbose=False)[0]


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


@pytest.mark.parametrize(
    ("source", "channels", "kept"), [(-1, 32, [3]), (0, 16, [0, 3]), (-3, 16, [0, 3]), (1, 32, [1, 3]), (2, 32, [2, 3])]
)
def test_a_norm_has_the_channels_of_the_row_it_reads(source, channels, kept):
    model, save = tasks.parse_model(tiny_yaml([source, 1, "LayerNorm2d", []]), 3, verbose=False)
    assert type(model[3]) is LayerNorm2d and model[3].normalized_shape == (channels,)
    assert model[4].conv.in_channels == channels and len(model) == 6
    assert save == kept


def test_a_norm_has_the_channels_of_a_concat():
    d = tiny_yaml([[-1, 0], 1, "Concat", [1]])
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
    d = tiny_yaml([-1, 2, "SwinStage", [128, {"local": True}]])
    row = deepcopy(d["backbone"][3])
    tasks.parse_model(d, 3, verbose=False)
    assert d["backbone"][3] == row and len(d["head"]) == 1


def test_the_summary_shows_our_rows():
    rows = [
        [-1, 8, "SwinStage", [128, {"local": True}]],
        [-1, 2, "C3STR", [128]],
        [0, 1, "LayerNorm2d", []],
        [-1, 1, "PatchMerging", [128]],
    ]
    d = tiny_yaml(rows[0])
    d["backbone"][3:4] = rows
    with ultralytics_log() as logged:
        model, _ = tasks.parse_model(d, 3)
    lines = [line for line in logged if re.match(r"\s*\d+ ", line)]
    assert [int(line.split()[0]) for line in lines] == list(range(len(model)))
    for i, (source, repeats, name, _) in enumerate(rows, start=3):
        assert lines[i].split()[:4] == [str(i), str(source), str(repeats // 2 or 1), str(model[i].np)], lines[i]
        assert f"swin_yolo.nn.{type(model[i]).__module__.rsplit('.')[-1]}.{name} " in lines[i]
    assert "[32, 64, 4, {'local': True}]" in lines[3]
    assert not re.search(r"block\.C3 |Identity|BatchNorm2d", "\n".join(lines))


def test_the_summary_can_be_turned_off():
    with ultralytics_log() as logged:
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
        ([7, 2, "SwinStage", [128]], r"'from' expected rows before it, from -\d to \d, got 7"),
        ([[-1, -9], 1, "Concat", [1]], r"'from' expected rows before it, .* got \[-1, -9\]"),
        (["-1", 1, "Conv", [128]], r"'from' expected rows before it, .* got -1"),
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
    YAML.save(
        file, {k: v for k, v in tiny_yaml([-1, 2, "SwinStage", [128, 0]]).items() if k not in ("scale", "yaml_file")}
    )
    with pytest.raises(InputError, match=rf"{re.escape(str(file))}: row 3 \(SwinStage\): window_size must be"):
        YOLO(file)


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
    layers, save = unwrapped("parse_model")(tiny_yaml([-1, 8, "C3", [128]]), 3, verbose=False)
    assert type(layers) is nn.Sequential and save == [3]
    c3, conv = layers[3], layers[2]
    assert type(c3) is C3 and (c3.cv1.conv.in_channels, c3.cv3.conv.out_channels, len(c3.m)) == (32, 64, 4)
    assert type(conv) is Conv and (conv.conv.in_channels, conv.conv.out_channels) == (32, 32)
    assert conv.act is c3.cv1.act is Conv.default_act
    assert all(hasattr(c3, name) for name in ("i", "f", "type", "np"))


def test_identity_keeps_channels_and_a_batch_norm_tells_them():
    d = tiny_yaml([0, 1, "nn.Identity", []])
    d["head"].append([3, 1, "nn.BatchNorm2d", []])
    layers, _ = unwrapped("parse_model")(d, 3, verbose=False)
    assert type(layers[3]) is nn.Identity and layers[4].conv.in_channels == layers[6].num_features == 16


def test_ultralytics_summary_has_one_info_line_per_row():
    with ultralytics_log() as logged:
        unwrapped("parse_model")(tiny_yaml([-1, 8, "C3", [128]]), 3)
    lines = [line for line in logged if re.match(r"\s*\d+ ", line)]
    assert len(lines) == 6
    params = parse([-1, 8, "C3", [128]])[3].np
    assert lines[3].startswith(f"{3:>3}{-1!s:>20}{4:>3}{params:10.0f}  {'ultralytics.nn.modules.block.C3':<45}[")
