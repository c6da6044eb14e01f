import pytest
import torch
import torch.nn.functional as F
from swin_oracles import by_size, load_exactly, random_map, randomised
from torchvision.models.swin_transformer import PatchMerging as TorchvisionPatchMerging

from swin_yolo.nn import LayerNorm2d, PatchEmbed, PatchMerging

exactly = {"rtol": 0, "atol": 1e-10}


def test_layer_norm_2d_is_the_layer_norm_of_every_position():
    norm = randomised(LayerNorm2d(8))
    x = random_map(2, 8, 3, 5)
    y = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    expected = y * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, **exactly)


@pytest.mark.parametrize("hw", [(16, 16), (32, 20), (13, 18), (3, 1)], ids=by_size)
def test_patch_embed_is_a_linear_map_of_each_zero_padded_patch(hw):
    embed = randomised(PatchEmbed(3, 8, 4))
    x = random_map(2, 3, *hw)
    padded = F.pad(x, (0, -hw[1] % 4, 0, -hw[0] % 4))
    patches = F.unfold(padded, 4, stride=4).transpose(1, 2)  # B tokens 48
    tokens = F.linear(patches, embed.proj.weight.flatten(1), embed.proj.bias)
    expected = F.layer_norm(tokens, (8,), embed.norm.weight, embed.norm.bias)
    y = embed(x)
    assert y.shape == (2, 8, -(-hw[0] // 4), -(-hw[1] // 4))
    torch.testing.assert_close(y.flatten(2).transpose(1, 2), expected, **exactly)


@pytest.mark.parametrize("hw", [(1, 1), (2, 2), (7, 7), (8, 6), (15, 17), (5, 8), (40, 23)], ids=by_size)
def test_patch_merging_matches_torchvision(hw):
    merging = randomised(PatchMerging(6))
    theirs = load_exactly(TorchvisionPatchMerging(6), merging.state_dict())
    x = random_map(2, *hw, 6)
    ours = merging(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert ours.shape == (2, -(-hw[0] // 2), -(-hw[1] // 2), 12)
    torch.testing.assert_close(ours, theirs(x), **exactly)


@pytest.mark.parametrize(("c2", "channels"), [(None, 12), (12, 12), (20, 20)])
def test_patch_merging_doubles_the_channels_unless_told(c2, channels):
    assert PatchMerging(6, c2)(torch.rand(1, 6, 4, 4)).shape == (1, channels, 2, 2)


@pytest.mark.parametrize(
    "layer", [LayerNorm2d(4), PatchEmbed(4, 6, 2), PatchMerging(4)], ids=lambda m: type(m).__name__
)
def test_every_parameter_gets_a_gradient_and_a_batch_of_two_is_two_of_one(layer):
    layer = randomised(layer)
    x = random_map(2, 4, 5, 6)
    y = layer(x)
    torch.testing.assert_close(y, torch.cat([layer(x[:1]), layer(x[1:])]), **exactly)
    y.square().sum().backward()
    for name, p in layer.named_parameters():
        assert p.grad is not None and p.grad.any(), f"No gradient for {name}"


@pytest.mark.parametrize("patch_size", [0, -4, True, 4.0], ids=repr)
def test_a_patch_must_be_a_positive_integer(patch_size):
    with pytest.raises(ValueError, match="patch_size must be a positive integer, got"):
        PatchEmbed(3, 8, patch_size)
