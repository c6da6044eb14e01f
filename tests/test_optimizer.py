import pytest

from swin_yolo.engine.model import build_model
from swin_yolo.engine.optimizer import decay_groups, layer_lr_scales, make_optimizer


@pytest.mark.parametrize("cfg", ["yolov5n-swin.yaml", "yolov5n-swint.yaml", "yolov5n.yaml"])
def test_every_parameter_is_in_one_group(cfg):
    model = build_model(cfg)
    ids = [id(p) for group in decay_groups(model, 0.05) for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}


def test_only_matrices_and_filters_decay():
    model = build_model("yolov5n-swint.yaml")
    groups = {group["param_group"]: group for group in decay_groups(model, 0.05)}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {"weight": 0.05, "bn": 0, "bias": 0}
    name_of = {id(p): name for name, p in model.named_parameters()}
    names = {key: [name_of[id(p)] for p in group["params"]] for key, group in groups.items()}
    assert all(name.endswith(".weight") for name in names["weight"])
    assert not any("norm" in name or ".bn." in name for name in names["weight"])
    assert all(name.endswith("bias") for name in names["bias"])
    tables = [name for name in name_of.values() if name.endswith("relative_position_bias_table")]
    assert len(tables) == 8 and set(tables) <= set(names["bn"])
    assert all(p.ndim == 1 for p, name in zip(groups["bn"]["params"], names["bn"], strict=True) if name not in tables)


# Layer-wise decay

SWIN_T_ROWS = range(8)  # PatchEmbed, then stages of 2, 2, 6 and 2 blocks with a PatchMerging between


@pytest.fixture(scope="module")
def swint():
    return build_model("yolov5l-swint.yaml")


def lr_of(model, layer_decay: float, rows) -> dict[str, float]:
    """Learning rate of each parameter, where that of the head is 1."""
    groups = decay_groups(model, 0.05, lr_scales=layer_lr_scales(model, layer_decay, rows))
    optimizer = make_optimizer("AdamW", groups, lr=1.0, momentum=0.9, fused=False)
    lr_by_id = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: lr_by_id[id(p)] for name, p in model.named_parameters()}


def test_each_pretrained_block_learns_slower_than_the_next(swint):
    lr = lr_of(swint, 0.5, SWIN_T_ROWS)
    names = [f"model.{row}.blocks.{i}.attn.qkv.weight" for row, n in ((1, 2), (3, 2), (5, 6), (7, 2)) for i in range(n)]
    assert [lr[name] for name in names] == [0.5 ** (12 - i) for i in range(12)]
    assert lr["model.0.proj.weight"] == lr["model.0.norm.bias"] == 0.5**13
    assert lr["model.2.reduction.weight"] == lr["model.1.blocks.1.mlp.fc1.weight"]
    outside = {name: rate for name, rate in lr.items() if int(name.split(".")[1]) not in SWIN_T_ROWS}
    assert set(outside.values()) == {1.0}


def test_rows_that_are_not_pretrained_learn_at_the_full_rate(swint):
    lr = lr_of(swint, 0.5, [1])
    assert lr["model.1.blocks.1.norm1.weight"] == 0.5 and lr["model.1.blocks.0.norm1.weight"] == 0.25
    assert {rate for name, rate in lr.items() if not name.startswith("model.1.")} == {1.0}


def test_a_layer_decay_of_1_slows_nothing(swint):
    assert set(lr_of(swint, 1.0, SWIN_T_ROWS).values()) == {1.0}


def test_tables_do_not_decay_in_slowed_blocks_either(swint):
    groups = decay_groups(swint, 0.05, lr_scales=layer_lr_scales(swint, 0.5, SWIN_T_ROWS))
    name_of = {id(p): name for name, p in swint.named_parameters()}
    decaying = {name_of[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decaying and not any("table" in name or "norm" in name or name.endswith("bias") for name in decaying)
    assert sum(len(group["params"]) for group in groups) == len(name_of)
