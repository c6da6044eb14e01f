"""What part of an image an output of a layer depends on, and how much (Luo et al., arXiv 1701.04128)."""

import torch
from torch import Tensor, nn


def effective_receptive_field(model: nn.Module, layer: nn.Module, images: Tensor, *, token: tuple[int, int]) -> Tensor:
    """Gradient of a token of a layer's output by the image.

    Args:
        model: takes the images; in eval mode, so that a norm does not mix images.
        layer: the part of it that gives the (1, C, H, W) output; may be `model` itself.
        images: (1, channels, H, W), in pixels.
        token: (row, column) on the layer's map.

    Returns:
        (H, W) in pixels: |d sum of the token's channels / d pixel|, the mean over the image's channels.
    """
    images = images.detach().clone().requires_grad_()
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda layer, args, output: outputs.append(output))
    try:
        with torch.enable_grad():
            model(images)
            (gradient,) = torch.autograd.grad(outputs[0][0, :, token[0], token[1]].sum(), images)
    finally:
        handle.remove()
    return gradient[0].abs().mean(0)
