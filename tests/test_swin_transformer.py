import pytest
import timm
import torch
import torchvision
from swin_oracles import by_size, load_exactly, random_map, randomised, timm_swin_weights, torchvision_swin_weights

from swin_yolo.nn import SwinTransformer, swin_b, swin_l, swin_s, swin_t

exactly = {"rtol": 0, "atol": 1e-10}


def small(**arguments) -> SwinTransformer:
    """A Swin of the article's four stages, narrow enough to be quick."""
    return SwinTransformer(embed_dim=8, num_heads=(1, 2, 2, 4), window_size=4, num_classes=5, **arguments)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [(swin_t, 28_288_354), (swin_s, 49_606_258), (swin_b, 87_768_224), (swin_l, 196_532_476)],
    ids=["swin_t", "swin_s", "swin_b", "swin_l"],
)
def test_parameter_count_is_the_article_s(build, parameters):
    with torch.device("meta"):
        model = build()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert f"{parameters:,}" in build.__doc__


@pytest.mark.parametrize(
    ("build", "hw"),
    [(swin_t, (224, 224)), (swin_t, (96, 128)), (swin_s, (96, 128)), (swin_b, (96, 128))],
    ids=["swin_t-224x224", "swin_t-96x128", "swin_s-96x128", "swin_b-96x128"],
)
def test_logits_match_torchvision(build, hw):
    model = randomised(build(), std=0.02)
    theirs = load_exactly(getattr(torchvision.models, build.__name__)(), torchvision_swin_weights(model))
    x = random_map(1, 3, *hw)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), theirs(x), **exactly)


def test_logits_match_timm_at_224():
    model = randomised(swin_t(), std=0.02)
    theirs = load_exactly(timm.create_model("swin_tiny_patch4_window7_224"), timm_swin_weights(model))
    x = random_map(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), theirs(x), **exactly)


@pytest.mark.parametrize("hw", [(64, 64), (96, 160), (30, 77), (1, 1)], ids=by_size)
def test_maps_have_strides_4_8_16_32(hw):
    maps = small().forward_features(torch.rand(2, 3, *hw))
    assert [tuple(m.shape) for m in maps] == [
        (2, 8 * 2**i, -(-hw[0] // stride), -(-hw[1] // stride)) for i, stride in enumerate((4, 8, 16, 32))
    ]


def test_local_terms_keep_the_function_of_torchvision_weights():
    plain, local = randomised(small()), small(local=True).double().eval()
    missing, unexpected = local.load_state_dict(plain.state_dict(), strict=False)
    assert missing and not unexpected and all("local" in name for name in missing)
    x = random_map(1, 3, 70, 50)
    assert torch.equal(plain(x), local(x))


@pytest.mark.parametrize("local", [False, True], ids=["plain", "local"])
def test_every_parameter_gets_a_gradient(local):
    model = randomised(small(local=local)).train()
    model(random_map(2, 3, 70, 50)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.any(), f"No gradient for {name}"


def test_drop_path_rises_linearly_to_the_last_block():
    model = SwinTransformer(embed_dim=8, depths=(2, 4), num_heads=(1, 1), drop_path=0.5)
    rates = [block.drop_path.p for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_odd_depths_get_the_next_even_one():
    model = SwinTransformer(embed_dim=8, depths=(1, 3), num_heads=(1, 1), num_classes=2)
    assert [len(stage.blocks) for stage in model.stages] == [2, 4]


def test_the_classifier_is_as_wide_as_asked():
    assert small()(torch.rand(2, 3, 32, 32)).shape == (2, 5)
