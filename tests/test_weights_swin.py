from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import load_file
from small_detectors import CONV_ONLY, SWIN_BACKBONE, detector
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from swin_yolo.errors import InputError
from swin_yolo.nn import SwinTransformer, swin_t
from swin_yolo.weights import format_report, load_weights
from swin_yolo.weights.swin import IMAGENET_STATS, load_swin, resize_bias_table

DEPTHS, HEADS, CLASSES = (2, 2, 4, 2), (1, 1, 2, 4), 5
close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)


def noisy(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode with noise on every parameter, so that no bias, norm or table is trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def image(hw: tuple[int, int]) -> Tensor:
    return torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(1))


def ours(depths: tuple[int, ...] = DEPTHS, **changed) -> SwinTransformer:
    arguments = {"embed_dim": 16, "depths": depths, "num_heads": HEADS, "num_classes": CLASSES}
    return SwinTransformer(**{**arguments, **changed}).eval()


def torchvision_swin(depths: tuple[int, ...] = DEPTHS) -> nn.Module:
    return noisy(TorchvisionSwin([4, 4], 16, list(depths), list(HEADS), [7, 7], num_classes=CLASSES))


def torchvision_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """NCHW maps of the four stages."""
    maps = []
    for i, part in enumerate(model.features):
        x = part(x)
        if i % 2:
            maps.append(x.permute(0, 3, 1, 2))
    return maps


def timm_swin() -> nn.Module:
    arguments = {"embed_dim": 16, "depths": DEPTHS, "num_heads": HEADS, "num_classes": CLASSES}
    return noisy(timm.create_model("swin_tiny_patch4_window7_224", **arguments))


def timm_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    maps, x = [], model.patch_embed(x)
    for layer in model.layers:
        x = layer(x)
        maps.append(x.permute(0, 3, 1, 2))
    return maps


def transformers_config(**changed):
    arguments = {"image_size": 224, "embed_dim": 16, "depths": list(DEPTHS), "num_heads": list(HEADS)}
    return transformers.SwinConfig(**{**arguments, "num_labels": CLASSES, **changed})


def release_weights(model: SwinTransformer) -> dict[str, Tensor]:
    """Weights of ours under the official release's names, with the buffers that it stores too."""
    weights = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "stages":
            name = f"layers.{rest}"
        elif part == "downsamples":
            name = f"layers.{rest.replace('.', '.downsample.', 1)}"
        weights[name] = tensor
    weights["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    for i, depth in enumerate(DEPTHS):
        for j in range(depth):
            weights[f"layers.{i}.blocks.{j}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    return weights


def assert_all_loaded(report) -> None:
    assert {entry.status for entry in report.entries} == {"loaded"}, format_report(report)


# The four layouts


@pytest.mark.parametrize("hw", [(224, 224), (320, 256)], ids=["224x224", "320x256"])
def test_torchvision_s_weights_give_its_features(hw):
    theirs, model = torchvision_swin(), ours()
    assert_all_loaded(load_swin(theirs.state_dict(), model))
    x = image(hw)
    with torch.inference_mode():
        for found, expected in zip(model.forward_features(x), torchvision_maps(theirs, x), strict=True):
            close(found, expected)
        close(model(x), theirs(x))


def test_timm_s_weights_give_its_features():
    theirs, model = timm_swin(), ours()
    assert_all_loaded(load_swin(theirs.state_dict(), model))
    x = image((224, 224))
    with torch.inference_mode():
        for found, expected in zip(model.forward_features(x), timm_maps(theirs, x), strict=True):
            close(found, expected)
        close(model(x), theirs(x))


@pytest.mark.parametrize("source", ["module", "safetensors", "torch"])
def test_transformers_weights_give_its_logits(tmp_path, source):
    theirs, model = noisy(transformers.SwinForImageClassification(transformers_config())), ours()
    if source == "module":  # its modules have other names than its files
        report = load_swin(theirs.state_dict(), model)
    else:
        theirs.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        if source == "torch":
            torch.save(load_file(file), tmp_path / "pytorch_model.bin")
            file = tmp_path / "pytorch_model.bin"
        report = load_weights(model, file)
    assert_all_loaded(report)
    x = image((224, 224))
    with torch.inference_mode():
        close(model(x), theirs(x).logits)


@pytest.mark.parametrize("wrap", [lambda w: {"model": w}, lambda w: {f"module.{k}": v for k, v in w.items()}])
def test_the_release_s_weights_load_whole(tmp_path, wrap):
    theirs, model = noisy(ours()), ours()
    torch.save(wrap(release_weights(theirs)), tmp_path / "swin.pth")
    report = load_weights(model, tmp_path / "swin.pth")
    assert_all_loaded(report)
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_swin_t_of_torchvision_loads_whole_and_plain():
    model = swin_t(num_classes=1000)
    assert_all_loaded(load_swin(torchvision.models.swin_t().state_dict(), model))


def test_local_terms_are_missing_and_keep_the_function():
    theirs, model = torchvision_swin(), ours(local=True)
    report = load_swin(theirs.state_dict(), model)
    assert {entry.status for entry in report.entries} == {"loaded", "missing"}
    assert all((".local." in entry.name) == (entry.status == "missing") for entry in report.entries)
    x = image((96, 64))
    with torch.inference_mode():
        close(model(x), theirs(x))


def test_swin_v2_is_refused_by_name(tmp_path):
    weights = release_weights(ours()) | {"layers.0.blocks.0.attn.logit_scale": torch.ones(1, 1, 1)}
    torch.save(weights, tmp_path / "v2.pth")
    with pytest.raises(InputError, match="Swin v2"):
        load_weights(ours(), tmp_path / "v2.pth")


# Into rows of a YAML


def rows_maps(model: nn.Module, x: Tensor, rows: tuple[int, ...]) -> list[Tensor]:
    """Outputs of some rows of a YAML model."""
    found = {}
    handles = [model.model[i].register_forward_hook(lambda *args, i=i: found.update({i: args[2]})) for i in rows]
    with torch.inference_mode():
        model(x)
    for handle in handles:
        handle.remove()
    return [found[i] for i in rows]


def normed(weights: dict[str, Tensor], names: list[str], maps: list[Tensor]) -> list[Tensor]:
    """LayerNorm over the channels of maps, by parameters of these names."""
    return [
        F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weights[f"{n}.weight"], weights[f"{n}.bias"]).permute(
            0, 3, 1, 2
        )
        for n, x in zip(names, maps, strict=True)
    ]


@pytest.mark.parametrize("hw", [(224, 224), (320, 256)], ids=["224x224", "320x256"])
def test_torchvision_s_weights_give_its_features_in_a_yaml_model(hw):
    theirs, model = torchvision_swin((2, 2, 2, 2)), detector(SWIN_BACKBONE)
    report = load_swin(theirs.state_dict(), model)
    x = image(hw)
    with torch.inference_mode():
        expected = torchvision_maps(theirs, x)
    for found, map_ in zip(rows_maps(model, x, (1, 3, 5, 7)), expected, strict=True):
        close(found, map_)
    (found,) = rows_maps(model, x, (10,))
    close(found, *normed(theirs.state_dict(), ["norm"], expected[3:]))
    status = {entry.name: entry.status for entry in report.entries}
    assert status["model.10.weight"] == "loaded" and status["model.8.weight"] == "missing"
    assert status["head.weight"] == "left over"


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_detection_backbone_s_norms_go_behind_their_stages(prefix):
    theirs, model = noisy(ours((2, 2, 2, 2))), detector(SWIN_BACKBONE)
    weights = {f"{prefix}{k}": v for k, v in release_weights(theirs).items() if not k.startswith(("norm", "head"))}
    norms = {f"norm{i}.{kind}": torch.randn(16 * 2**i) for i in range(4) for kind in ("weight", "bias")}
    report = load_swin(weights | {f"{prefix}{k}": v for k, v in norms.items()}, model)
    x = image((64, 96))
    with torch.inference_mode():
        maps = theirs.forward_features(x)
    for found, expected in zip(
        rows_maps(model, x, (8, 9, 10)), normed(norms, ["norm1", "norm2", "norm3"], maps[1:]), strict=True
    ):
        close(found, expected)
    left = [entry.name for entry in report.entries if entry.status == "left over"]
    assert left == [f"{prefix}norm0.weight", f"{prefix}norm0.bias"]


def test_a_transformers_backbone_s_norms_go_behind_their_stages():
    # Windows of 3, so that no map is one window: transformers' backbones shift that one too, unlike all others.
    stages = [f"stage{i}" for i in range(1, 5)]
    config = transformers_config(depths=[2, 2, 2, 2], window_size=3, image_size=192, out_features=stages)
    rows = [[*row[:3], [*row[3], 3]] if row[2] == "SwinStage" else row for row in SWIN_BACKBONE["backbone"]]
    theirs, model = noisy(transformers.SwinBackbone(config)), detector({**SWIN_BACKBONE, "backbone": rows})
    load_swin(theirs.state_dict(), model)
    x = image((192, 192))
    with torch.inference_mode():
        expected = theirs(x).feature_maps
    for found, map_ in zip(rows_maps(model, x, (8, 9, 10)), expected[1:], strict=True):
        close(found, map_)


def test_a_detector_s_patch_embedding_normalises_its_images(tmp_path):
    theirs, model = torchvision_swin((2, 2, 2, 2)), detector(SWIN_BACKBONE)
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    report = load_weights(model, tmp_path / "swin.pth")
    x = image((64, 96))
    mean, std = (torch.tensor(stats).view(3, 1, 1) for stats in IMAGENET_STATS)
    with torch.inference_mode():
        expected = torchvision_maps(theirs, (x - mean) / std)
    close(rows_maps(model, x, (7,))[0], expected[3])
    assert "normalises images" in format_report(report).splitlines()[1]


def test_widths_that_do_not_fit_are_reported_and_left_alone():
    rows = SWIN_BACKBONE["backbone"]
    wide = [[-1, 1, "PatchMerging", [96]], [-1, 2, "SwinStage", [96]]]
    model = detector({**SWIN_BACKBONE, "backbone": [*rows[:6], *wide, *rows[8:]]})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_swin(torchvision_swin((2, 2, 2, 2)).state_dict(), model)
    status = {entry.name: (entry.status, entry.note) for entry in report.entries}
    assert status["model.7.blocks.0.norm1.weight"] == ("unfit", "the file has 128")
    assert status["model.6.reduction.weight"] == ("unfit", "the file has 128x256")
    assert status["model.5.blocks.0.norm1.weight"][0] == "loaded"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (status[name][0] in ("unfit", "missing")), name


def test_attention_of_other_heads_is_not_taken():
    theirs, model = ours(), ours(num_heads=(1, 1, 4, 4))
    before = model.state_dict()["stages.2.blocks.0.attn.qkv.weight"].clone()
    report = load_swin(release_weights(theirs), model)
    unfit = {entry.name.partition(".attn.")[0] for entry in report.entries if entry.status == "unfit"}
    assert unfit == {f"stages.2.blocks.{j}" for j in range(4)}
    assert torch.equal(model.state_dict()["stages.2.blocks.0.attn.qkv.weight"], before)
    assert "the file's attention has 2 heads, not 4" in format_report(report)


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    torch.save(torchvision_swin().state_dict(), tmp_path / "swin.pth")
    with pytest.raises(InputError, match="none of its weights fit"):
        load_weights(detector(CONV_ONLY), tmp_path / "swin.pth")


# Other windows


@pytest.mark.parametrize("side", [5, 13, 23])
def test_a_constant_bias_table_stays_constant(side):
    close(resize_bias_table(torch.full((169, 3), 0.7), side**2), torch.full((side**2, 3), 0.7))


def test_a_bias_table_of_the_same_window_is_kept_as_it_is():
    table = torch.randn(169, 3)
    assert resize_bias_table(table, 169) is table


@pytest.mark.parametrize("axis", [0, 1], ids=["dy", "dx"])
def test_a_sloping_bias_table_is_resized_by_the_cubic_of_torch(axis):
    """Between entries of a slope of 1, at 0 <= t <= 1, the cubic of a = -0.75 is t + t (1 - t) (1 - 2 t) / 2."""
    slope = (torch.arange(13.0) - 6).view(13, 1) if axis == 0 else (torch.arange(13.0) - 6).view(1, 13)
    maps = slope.expand(13, 13).flatten()
    found = resize_bias_table(torch.stack([maps, -2 * maps], 1), 27**2).reshape(27, 27, 2)
    position = (torch.arange(27.0) + 0.5) * 13 / 27 - 0.5
    t = position - position.floor()
    expected = position - 6 + t * (1 - t) * (1 - 2 * t) / 2
    line = found[:, 5] if axis == 0 else found[5]
    close(line[4:-4, 0], expected[4:-4])
    close(line[4:-4, 1], -2 * expected[4:-4])


def test_offset_0_stays_offset_0():
    table = torch.zeros(13, 13, 1)
    table[6, 6] = 1.0
    found = resize_bias_table(table.reshape(169, 1), 23**2).reshape(23, 23)
    assert int(found.argmax()) == 11 * 23 + 11
    close(found, found.flip(0, 1))


def test_another_window_size_resizes_the_tables_and_says_so():
    theirs, model = torchvision_swin(), ours(window_size=8)
    report = load_swin(theirs.state_dict(), model)
    resized = [entry for entry in report.entries if entry.status == "resized"]
    assert len(resized) == sum(DEPTHS) and all("bias_table" in entry.name for entry in resized)
    assert {entry.note for entry in resized} == {"bias tables of 7x7 windows resized to 8x8"}
    name = "stages.1.blocks.0.attn.relative_position_bias_table"
    expected = resize_bias_table(theirs.state_dict()["features.3.0.attn.relative_position_bias_table"], 225)
    assert torch.equal(model.state_dict()[name], expected)
    assert "resized to 8x8" in format_report(report)


# The report


def test_the_report_has_a_line_for_each_row_and_sums():
    report = load_swin(torchvision_swin((2, 2, 2, 2)).state_dict(), detector(SWIN_BACKBONE))
    lines = format_report(report).splitlines()
    assert len(lines) == 1 + 12 + 2
    assert lines[1].split() == ["0", "PatchEmbed", "4", "4"]
    assert lines[-2] == "left over in the file: head (2)"
    assert lines[-1].startswith(f"{report.count('loaded')} loaded, 0 resized, ")
    detect = next(line for line in lines if "Detect" in line).split()
    assert detect[2] == detect[3] and len(detect) == 4  # all of its tensors missing
