import math
from functools import lru_cache
from typing import NamedTuple

import pytest
import torch
from swin_oracles import by_size
from torch import Tensor, nn
from ultralytics.nn import tasks

from swin_yolo.nn import SwinBlock, swin_t
from swin_yolo.paths import shipped_dir

WIDTH = {"n": 0.25, "s": 0.5, "m": 0.75, "l": 1.0, "x": 1.25}
# Blocks of a stage whose row says 2, 3, 6 or 9: scaled as YOLOv5 scales repeats, then made even.
BLOCKS = {
    2: {"n": 2, "s": 2, "m": 2, "l": 2, "x": 4},
    3: {"n": 2, "s": 2, "m": 2, "l": 4, "x": 4},
    6: {"n": 2, "s": 2, "m": 4, "l": 6, "x": 8},
    9: {"n": 4, "s": 4, "m": 6, "l": 10, "x": 12},
}


class Row(NamedTuple):
    """What a row of ours is to be at scale l."""

    layer: str
    channels: int
    stride: int
    depth: int = 0
    local: bool = False
    mlp_ratio: float = 4.0


class Expected(NamedTuple):
    """Our rows of a YAML before the head, the channels at scale l of its outputs by stride, and the head."""

    rows: dict[int, Row]
    outputs: dict[int, int]
    head: str = "Detect"


P3_TO_P5 = {8: 256, 16: 512, 32: 1024}
MODELS = {
    "yolov5-anchor.yaml": Expected({}, P3_TO_P5, "AnchorDetect"),
    "yolov5-c3str.yaml": Expected({8: Row("C3STR", 1024, 32, 3)}, P3_TO_P5),
    "yolov5-c3str-neck.yaml": Expected(
        {17: Row("C3STR", 256, 8, 3), 20: Row("C3STR", 512, 16, 3), 23: Row("C3STR", 1024, 32, 3)}, P3_TO_P5
    ),
    "yolov5-c3str-p2.yaml": Expected(
        {
            21: Row("C3STR", 128, 4, 3),
            24: Row("C3STR", 256, 8, 3),
            27: Row("C3STR", 512, 16, 3),
            30: Row("C3STR", 1024, 32, 3),
        },
        {4: 128, **P3_TO_P5},
    ),
    "yolov5-swin.yaml": Expected(
        {6: Row("SwinStage", 512, 16, 9, True, 2.0), 8: Row("SwinStage", 1024, 32, 3, True, 2.0)}, P3_TO_P5
    ),
    "yolov5-swin-insert.yaml": Expected(
        {7: Row("SwinStage", 512, 16, 2, True), 10: Row("SwinStage", 1024, 32, 2, True)}, P3_TO_P5
    ),
    "yolov5-swint.yaml": Expected(
        {
            0: Row("PatchEmbed", 96, 4),
            1: Row("SwinStage", 96, 4, 2),
            2: Row("PatchMerging", 192, 8),
            3: Row("SwinStage", 192, 8, 2),
            4: Row("PatchMerging", 384, 16),
            5: Row("SwinStage", 384, 16, 6),
            6: Row("PatchMerging", 768, 32),
            7: Row("SwinStage", 768, 32, 2),
            8: Row("LayerNorm2d", 192, 8),
            9: Row("LayerNorm2d", 384, 16),
            10: Row("LayerNorm2d", 768, 32),
        },
        P3_TO_P5,
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)
every_scale = pytest.mark.parametrize("scale", WIDTH)


def at_scale(name: str, scale: str) -> str:
    """Name of a YAML with the letter of a scale, as the command line takes it."""
    return name.replace("yolov5", f"yolov5{scale}")


def scaled(channels: int, scale: str) -> int:
    """Channels at a scale, in eights."""
    return math.ceil(min(channels, 1024) * WIDTH[scale] / 8) * 8


@lru_cache
def on_meta(name: str, scale: str) -> nn.Sequential:
    """Layers of a model without values: quick to make at every scale."""
    with torch.device("meta"):
        return tasks.parse_model(tasks.yaml_model_load(at_scale(name, scale)), 3, verbose=False)[0]


@lru_cache
def built(name: str, scale: str) -> tasks.DetectionModel:
    torch.manual_seed(0)
    return tasks.DetectionModel(at_scale(name, scale), nc=3, verbose=False)


def outputs_of_rows(layers: nn.Sequential, x: Tensor) -> list:
    """Output of each row but the head, and the head's inputs last."""
    outputs = []
    for layer in layers:
        sources = [layer.f] if isinstance(layer.f, int) else layer.f
        inputs = [outputs[j] if outputs else x for j in sources]
        if layer is layers[-1]:
            return [*outputs, inputs]
        outputs.append(layer(inputs[0] if isinstance(layer.f, int) else inputs))
    raise AssertionError("a model has a head")


def blocks_of(layer: nn.Module) -> list[SwinBlock]:
    return [m for m in layer.modules() if isinstance(m, SwinBlock)]


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in module.state_dict().values()]


def test_every_shipped_yaml_is_tested_here():
    assert {file.name for file in shipped_dir("models").glob("*.yaml")} == set(MODELS)


@every_scale
@every_model
def test_channels_depths_and_strides(name, scale):
    layers, expected = on_meta(name, scale), MODELS[name]
    assert {i for i, m in enumerate(layers[:-1]) if type(m).__module__.startswith("swin_yolo.")} == set(expected.rows)
    assert type(layers[-1]).__name__ == expected.head
    *outputs, features = outputs_of_rows(layers, torch.rand(1, 3, 256, 320, device="meta"))
    for i, row in expected.rows.items():
        assert type(layers[i]).__name__ == row.layer
        assert outputs[i].shape == (1, scaled(row.channels, scale), 256 // row.stride, 320 // row.stride), f"row {i}"
        blocks = blocks_of(layers[i])
        assert len(blocks) == (BLOCKS[row.depth][scale] if row.depth else 0), f"row {i}"
        for block in blocks:
            assert (block.local is not None) == row.local and block.attn.window_size == 7, f"row {i}"
            assert block.mlp.fc1.out_features == row.mlp_ratio * block.attn.dim, f"row {i}"
    assert [tuple(f.shape) for f in features] == [
        (1, scaled(channels, scale), 256 // stride, 320 // stride) for stride, channels in expected.outputs.items()
    ]


@every_model
def test_a_built_model_knows_its_strides(name):
    assert built(name, "n").stride.tolist() == list(MODELS[name].outputs)


@every_scale
@pytest.mark.parametrize(
    "name", ["yolov5-anchor.yaml", "yolov5-c3str.yaml", "yolov5-c3str-neck.yaml", "yolov5-swin.yaml"]
)
def test_all_other_rows_are_vanilla(name, scale):
    for i, (ours, vanilla) in enumerate(zip(on_meta(name, scale), on_meta("yolov5.yaml", scale), strict=True)):
        if vanilla.type.endswith(".Detect") and MODELS[name].head != "Detect":
            assert ours.f == vanilla.f
        elif i in MODELS[name].rows:
            assert vanilla.type.endswith(".C3")
        else:
            assert (ours.type, ours.f, shapes(ours)) == (vanilla.type, vanilla.f, shapes(vanilla)), f"row {i}"


@pytest.mark.parametrize("hw", [(64, 64), (256, 320), (640, 384)], ids=by_size)
@pytest.mark.parametrize("scale", ["n", "s"])
@every_model
def test_a_model_runs_forward_and_backward(name, scale, hw):
    model = built(name, scale).train()
    model.zero_grad(set_to_none=True)
    out = model(torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(0)))
    cells = [hw[0] // stride * (hw[1] // stride) for stride in MODELS[name].outputs]
    if MODELS[name].head == "AnchorDetect":
        predictions = out["levels"]
        assert [p[0, 0, ..., 0].numel() for p in predictions] == cells
    else:
        predictions = [out["boxes"], out["scores"]]
        assert [p.shape[-1] for p in predictions] == [sum(cells)] * 2
    sum(p.square().mean() for p in predictions).backward()
    for parameter, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all(), f"No gradient for {parameter}"


def test_swint_at_l_is_swin_t():
    with torch.device("meta"):
        swin = swin_t()
    expected = [swin.patch_embed]
    for i, stage in enumerate(swin.stages):
        expected += [swin.downsamples[i - 1], stage] if i else [stage]
    layers = on_meta("yolov5-swint.yaml", "l")
    for i, module in enumerate(expected):
        assert layers[i].np == sum(p.numel() for p in module.parameters()), f"row {i}"
        assert {k: v.shape for k, v in layers[i].state_dict().items()} == {
            k: v.shape for k, v in module.state_dict().items()
        }
        assert [b.attn.num_heads for b in blocks_of(layers[i])] == [b.attn.num_heads for b in blocks_of(module)]


def test_inserted_stages_keep_the_function_of_vanilla_weights():
    names = (at_scale(name, "n") for name in ("yolov5.yaml", "yolov5-swin-insert.yaml"))
    vanilla, ours = (tasks.DetectionModel(name, nc=3, verbose=False) for name in names)
    generator = torch.Generator().manual_seed(0)
    for m in vanilla.modules():
        if isinstance(m, nn.BatchNorm2d):  # else the means are 0 and the variances 1
            for value in (m.weight.data, m.bias.data, m.running_mean, m.running_var):
                value += 0.1 * torch.rand(value.shape, generator=generator)
    rows = [i for i in range(len(ours.model)) if i not in MODELS["yolov5-swin-insert.yaml"].rows]
    for i, layer in zip(rows, vanilla.model, strict=True):
        ours.model[i].load_state_dict(layer.state_dict())
    x = torch.rand(2, 3, 96, 160, generator=generator)
    with torch.inference_mode():
        expected, y = vanilla.eval()(x)[0], ours.eval()(x)[0]
    assert expected.isfinite().all() and torch.equal(y, expected)


def test_fused_for_prediction_a_model_gives_the_same():
    model = tasks.DetectionModel(at_scale("yolov5-c3str-neck.yaml", "n"), nc=3, verbose=False).eval()
    x = torch.rand(1, 3, 96, 160)
    with torch.inference_mode():
        expected = model(x)[0]
        y = model.fuse(verbose=False)(x)[0]
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-3)


def test_a_yaml_without_a_scale_letter_is_taken_at_n():
    assert shapes(tasks.DetectionModel("yolov5-c3str.yaml", nc=3, verbose=False)) == shapes(
        built("yolov5-c3str.yaml", "n")
    )
