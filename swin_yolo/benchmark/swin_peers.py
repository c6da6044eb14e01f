"""Swin-T of the libraries that one would take in the place of ours: whole backbones and single blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swin_yolo.nn import SwinTransformer
from swin_yolo.weights.swin import load_swin

DIM, DEPTHS, HEADS = 96, (2, 2, 6, 2), (3, 6, 12, 24)

Forward = Callable[[Tensor], object]


@dataclass(frozen=True)
class Swin:
    """A Swin-T without its classifier.

    Attributes:
        name: the library.
        module: what holds the parameters.
        backbone: (B, 3, H, W) images to the features behind the last norm.
        block: stage (0 to 3) and place in it (0 unshifted, 1 shifted) to a function of (B, H, W, C) maps.
    """

    name: str
    module: nn.Module
    backbone: Forward
    block: Callable[[int, int], Forward]


def ours(window_size: int = 7) -> Swin:
    """Ours."""
    model: Any = SwinTransformer(embed_dim=DIM, depths=DEPTHS, num_heads=HEADS, window_size=window_size)

    def block(stage: int, place: int) -> Forward:
        return model.stages[stage].blocks[place]

    def backbone(images: Tensor) -> object:
        return model.norm(model.forward_features(images)[-1].permute(0, 2, 3, 1))

    return Swin("ours", model, backbone, block)


def torchvision_swin(window_size: int = 7) -> Swin:
    """Torchvision's."""
    from torchvision.models.swin_transformer import SwinTransformer as Theirs

    model = Theirs([4, 4], DIM, list(DEPTHS), list(HEADS), [window_size] * 2, stochastic_depth_prob=0.0)

    def block(stage: int, place: int) -> Forward:
        return model.features[2 * stage + 1][place]

    def backbone(images: Tensor) -> object:
        return model.norm(model.features(images))

    return Swin("torchvision", model, backbone, block)


def timm_swin(window_size: int = 7, image_hw: tuple[int, int] = (224, 224)) -> Swin:
    """timm's, made for one image size, for which it keeps its masks."""
    from timm.models.swin_transformer import SwinTransformer as Theirs

    model = Theirs(
        img_size=image_hw, embed_dim=DIM, depths=DEPTHS, num_heads=HEADS, window_size=window_size, drop_path_rate=0.0
    )

    def block(stage: int, place: int) -> Forward:
        return model.layers[stage].blocks[place]

    return Swin("timm", model, model.forward_features, block)


def transformers_swin(window_size: int = 7) -> Swin:
    """Transformers'."""
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(
        embed_dim=DIM,
        depths=list(DEPTHS),
        num_heads=list(HEADS),
        window_size=window_size,
        drop_path_rate=0.0,
    )
    model: Any = SwinModel(config, add_pooling_layer=False)

    def block(stage: int, place: int) -> Forward:
        layer = model.encoder.layers[stage].blocks[place]

        def forward(x: Tensor) -> Tensor:
            B, H, W, C = x.shape
            return layer(x.view(B, H * W, C), (H, W))[0].view(B, H, W, C)

        return forward

    def backbone(images: Tensor) -> object:
        return model(images, interpolate_pos_encoding=True)

    return Swin("transformers", model, backbone, block)


LIBRARIES: dict[str, Callable[[int, tuple[int, int]], Swin]] = {
    "ours": lambda window_size, image_hw: ours(window_size),
    "torchvision": lambda window_size, image_hw: torchvision_swin(window_size),
    "timm": timm_swin,
    "transformers": lambda window_size, image_hw: transformers_swin(window_size),
}


@torch.no_grad()
def largest_difference(peer: Swin, mine: Swin, stage: int, place: int, x: Tensor) -> float:
    """Of a block of ours with the peer's weights from the peer's, on a (B, H, W, C) map; ours keeps the weights."""
    load_swin(peer.module.state_dict(), mine.module)
    a, b = peer.block(stage, place)(x), mine.block(stage, place)(x)
    assert isinstance(a, Tensor) and isinstance(b, Tensor)
    return (a - b).abs().max().item()


@torch.no_grad()
def largest_difference_of_backbones(peer: Swin, mine: Swin, images: Tensor) -> float:
    """Of our backbone with the peer's weights from the peer's, on (B, 3, H, W) images; ours keeps the weights."""
    load_swin(peer.module.state_dict(), mine.module)
    a, b = last_map(peer.backbone(images)), last_map(mine.backbone(images))
    return (a.reshape(b.shape) - b).abs().max().item()


def last_map(output: object) -> Tensor:
    """The features in what a backbone or block gives: a tensor, or a record of transformers."""
    found = output if isinstance(output, Tensor) else getattr(output, "last_hidden_state", None)
    assert isinstance(found, Tensor)
    return found
