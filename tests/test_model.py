import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn import tasks
from ultralytics.nn.tasks import ClassificationModel

from swin_yolo.engine.model import build_model, check_imgsz, count_gflops, count_parameters, load_model, profile_rows
from swin_yolo.errors import InputError
from swin_yolo.paths import shipped_dir
from swin_yolo.report.model_table import format_rows

SHIPPED = sorted(shipped_dir("models").glob("*.yaml"))


@pytest.fixture(scope="module")
def model():
    return build_model("yolov5n-swin.yaml", nc=2)


def swin_block_flops(tokens: int, dim: int, hidden: int, *, window_size: int = 7, local: bool = False) -> int:
    """Of a SwinBlock on `tokens` that fill whole windows, a multiply-add counted as two (Swin, Eq. 1 and 2)."""
    projections = 2 * tokens * dim * 3 * dim + 2 * tokens * dim * dim
    attention = tokens // window_size**2 * 2 * (2 * window_size**4 * dim)  # q k^T, and its product with v
    mlp = 2 * (2 * tokens * dim * hidden)
    depthwise = 2 * 9 * tokens * (dim + hidden) if local else 0
    return projections + attention + mlp + depthwise


# At 224 pixels the maps of P2 to P5 are 56, 28, 14 and 7 tokens wide: whole windows.


def test_gflops_of_a_convolution_are_those_of_the_formula(model):
    row = profile_rows(model, 224)[0]
    assert (row.layer, row.shape) == ("Conv", (1, 16, 112, 112))
    assert row.gflops == pytest.approx(2 * (112 * 112) * 16 * (3 * 6 * 6) / 1e9, rel=1e-12)


@pytest.mark.parametrize(
    ("cfg", "number", "map_side", "local"), [("yolov5n-swint.yaml", 1, 56, False), ("yolov5n-swin.yaml", 6, 14, True)]
)
def test_gflops_of_swin_blocks_are_those_of_the_formula(cfg, number, map_side, local):
    model = build_model(cfg)
    stage = model.model[number]
    dim, hidden = stage.blocks[0].mlp.fc1.in_features, stage.blocks[0].mlp.fc1.out_features
    assert stage.proj_in is None
    row = profile_rows(model, 224)[number]
    assert row.shape == (1, dim, map_side, map_side)
    expected = len(stage.blocks) * swin_block_flops(map_side**2, dim, hidden, local=local)
    assert row.gflops == pytest.approx(expected / 1e9, rel=1e-12)


@pytest.mark.parametrize("imgsz", [64, (64, 160)])
def test_gflops_are_what_torch_counts_for_the_whole_model(model, imgsz):
    H, W = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        deepcopy(model).eval()(torch.zeros(1, 3, H, W))
    assert count_gflops(model, imgsz) == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-12)


def test_gflops_grow_with_the_image(model):
    counts = [count_gflops(model, imgsz) for imgsz in (224, 448)]
    assert counts[1] == pytest.approx(4 * counts[0], rel=1e-6)  # windows are local: linear in the number of pixels


def test_rows_add_up_to_the_model(model):
    rows = profile_rows(model, 64)
    assert [row.number for row in rows] == list(range(len(model.model)))
    assert sum(row.parameters for row in rows) == count_parameters(model) == sum(p.numel() for p in model.parameters())
    assert sum(row.gflops for row in rows) == count_gflops(model, 64)
    assert [rows[i].layer for i in (0, 2, 6, 8, 12, 24)] == ["Conv", "C3", "SwinStage", "SwinStage", "Concat", "Detect"]
    assert rows[12].source == [-1, 6] and rows[6].shape == (1, 128, 4, 4)


def test_frozen_parameters_count_as_well(model):
    frozen = deepcopy(model).requires_grad_(False)
    assert count_parameters(frozen) == count_parameters(model)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(training):
    model = build_model("yolov5n-swin.yaml").train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    count_gflops(model, 64)
    assert model.training == training
    assert not any(layer._forward_hooks for layer in model.model)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_table_of_rows_ends_with_their_sums(model):
    rows = profile_rows(model, (64, 96))
    table = format_rows(rows, name="yolov5n-swin", imgsz=(64, 96)).splitlines()
    assert len(table) == 1 + len(rows) + 1
    assert re.split(r"\s{2,}", table[7].strip()) == [
        "6",
        "-1",
        "SwinStage",
        "128x4x6",
        f"{rows[6].parameters:,}",
        f"{rows[6].gflops:.3f}",
    ]
    total = f"yolov5n-swin: {count_parameters(model):,} parameters, {count_gflops(model, (64, 96)):.2f} GFLOPs at 64x96"
    assert table[-1].startswith(total)


@pytest.mark.parametrize("imgsz", [100, (64, 100)])
def test_a_size_that_is_no_multiple_of_the_stride_is_an_error(model, imgsz):
    with pytest.raises(InputError, match=r"--imgsz 100: expected a multiple of the model's stride 32, such as 96"):
        profile_rows(model, imgsz)
    check_imgsz(96, model)


def test_classes_of_the_dataset_replace_those_of_the_yaml():
    assert build_model("yolov5n-swin.yaml").model[-1].nc == 80
    assert build_model("yolov5n-swin.yaml", nc=3).model[-1].nc == 3


# Model YAMLs that cannot be used


def written(folder: Path, *, name: str = "own.yaml", **replaced: object) -> Path:
    content = yaml.safe_load((shipped_dir("models") / "yolov5-c3str.yaml").read_text())
    file = folder / name
    file.write_text(yaml.safe_dump({k: v for k, v in (content | replaced).items() if v is not None}))
    return file


HEAD = yaml.safe_load((shipped_dir("models") / "yolov5-c3str.yaml").read_text())["head"]


@pytest.mark.parametrize("name", ["yolov5n-swan.yaml", "no/such/folder/yolov5n-swin.yaml"])
def test_a_missing_yaml_is_named(name):
    with pytest.raises(InputError, match=rf"--cfg {name}: no such model YAML"):
        build_model(name)


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_yaml_without_backbone_or_head_is_named(tmp_path, part):
    with pytest.raises(InputError, match=r"--cfg .*own.yaml: expected a model YAML with rows in 'backbone' and 'head'"):
        build_model(written(tmp_path, **{part: None}))
    with pytest.raises(InputError, match=r"--cfg .*own.yaml: expected a model YAML with rows in 'backbone' and 'head'"):
        build_model(written(tmp_path, **{part: "rows"}))


@pytest.mark.parametrize(("name", "text"), [("own.yaml", "- 1\n"), ("own.yaml", "a: [\n"), ("own.pt", "nc: 1\n")])
def test_a_file_that_is_no_model_yaml_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"^--cfg .*{name}: expected a model YAML: .*$"):
        build_model(tmp_path / name)


def test_a_wrong_row_of_ours_is_named_by_file_and_number(tmp_path):
    head = deepcopy(HEAD)
    head[3] = [-1, 3, "C3STR", [512, False, 0]]
    with pytest.raises(InputError, match=r"own.yaml: row 13 \(C3STR\): window_size must be a positive integer, got 0"):
        build_model(written(tmp_path, head=head))


def test_a_wrong_row_of_ultralytics_own_is_an_input_error(tmp_path):
    head = deepcopy(HEAD)
    head[2][0] = [-1, 99]
    with pytest.raises(InputError, match=r"own.yaml: row \d+: 'from' expected rows before it, .* got \[-1, 99\]$"):
        build_model(written(tmp_path, head=head))
    head[2][0], head[2][3] = [-1, 0], ["one"]
    with pytest.raises(InputError, match=r"^--cfg .*own.yaml: a row is wrong, ultralytics gives \w+Error: .*$"):
        build_model(written(tmp_path, head=head))


@pytest.mark.parametrize("cfg", ["yolov8n-seg.yaml", "yolov8n-pose.yaml", "yolov8n-obb.yaml"])
def test_a_yaml_of_another_task_is_named(cfg):
    with pytest.raises(InputError, match=rf"--cfg {cfg}: expected a detection model, with Detect as its last row, got"):
        build_model(cfg)


def test_a_yaml_without_detect_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--cfg .*own.yaml: expected a detection model, .* got C3"):
        build_model(written(tmp_path, head=HEAD[:-1]))


# Checkpoints


def test_a_checkpoint_is_loaded_in_fp32_and_whole(tmp_path, model):
    torch.save({"model": deepcopy(model).half()}, tmp_path / "half.pt")
    loaded = load_model(tmp_path / "half.pt")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert all(torch.equal(v.half(), loaded.state_dict()[k].half()) for k, v in model.state_dict().items())


@pytest.mark.parametrize("flag", ["--weights", "--resume"])
def test_a_missing_checkpoint_is_named_by_the_flag_that_gave_it(tmp_path, flag):
    with pytest.raises(InputError, match=rf"{flag} {tmp_path}/none.pt: no such file"):
        load_model(tmp_path / "none.pt", flag=flag)


@pytest.mark.parametrize("content", [b"", b"hello", {"weight": torch.zeros(1)}, [1]])
def test_a_file_that_is_no_checkpoint_is_named_on_one_line(tmp_path, content):
    file = tmp_path / "weights.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InputError, match=rf"^--weights {file}: (not a checkpoint|holds weights without a model).*$"):
        load_model(file)


@pytest.mark.parametrize("other", ["classifier", "layer"])
def test_a_checkpoint_of_another_task_is_named(tmp_path, other):
    model = ClassificationModel("yolov8n-cls.yaml", verbose=False) if other == "classifier" else nn.Linear(1, 1)
    torch.save({"model": model}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other.pt: (expected a detection model|holds weights without a model)"):
        load_model(tmp_path / "other.pt")


# Headers of the shipped YAMLs. `# Parameters (80 classes): n 1,234,567, s ..., m ..., l ..., x ...`


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_yaml_states_its_parameters_at_every_scale(file):
    stated = parameters_stated(file.read_text())
    assert stated.keys() == set("nsmlx"), "expected a line `# Parameters (80 classes): n 1,234,567, s ...`"
    assert stated == {scale: parameters_of(scaled_name(file, scale)) for scale in stated}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_yaml_names_its_paper_and_a_command(file):
    header = re.match(r"(#.*\n)+", file.read_text()).group()
    assert "Differs from" in header or "article" in header
    assert re.search(r"arXiv \d{4}\.\d{5}", header)
    command = re.search(r"# Command: python tools/train.py --cfg (\S+)", header)
    assert command and scaled_name(file, "n").replace("5n", "5") == re.sub(r"5[nsmlx]", "5", command[1])


def parameters_of(name: str) -> int:
    """Counted on layers without values, which are quick to make at every scale."""
    with torch.device("meta"):
        return count_parameters(tasks.parse_model(tasks.yaml_model_load(name), 3, verbose=False)[0])


def parameters_stated(text: str) -> dict[str, int]:
    """By scale, from a header."""
    line = re.search(r"^# Parameters \(80 classes\): (.*)$", text, re.MULTILINE)
    stated = re.findall(r"([nsmlx]) ([\d,]+\d)", line[1]) if line else []
    return {scale: int(number.replace(",", "")) for scale, number in stated}


def scaled_name(file: Path, scale: str) -> str:
    """yolov5-swin.yaml at scale s is yolov5s-swin.yaml."""
    return file.name.replace("yolov5", f"yolov5{scale}", 1)
