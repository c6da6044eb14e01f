"""Whether an exported model gives what PyTorch gives."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.utils import LOGGER

from swin_yolo.engine.backend import Backend

# Sizes that a model exported for any size is run at, (H, W): square and not, maps that windows divide and not.
DYNAMIC_SIZES = ((256, 256), (320, 192), (384, 640), (480, 352), (640, 640))
IMAGES = 2  # two, so that the batch is tried, and that it can be seen whether the output depends on the image


@dataclass(frozen=True)
class Difference:
    """What came out of an exported model against PyTorch at one size.

    Attributes:
        hw: the size.
        relative: greatest difference as a fraction of the greatest value, of boxes and of scores apart; inf where the
            outputs have not the same shape, or are not finite.
        response: the same measure between PyTorch's outputs for two images: how much of a difference can be seen.
    """

    hw: tuple[int, int]
    relative: float
    response: float


def compare(backend: Backend, model: nn.Module, hw: tuple[int, int]) -> Difference:
    """Run an exported model and PyTorch on pictures of a size.

    Args:
        backend: the exported model.
        model: what it was exported from, in eval mode and fp32, with or without NMS.
        hw: (H, W) of the pictures.
    """
    images = pictures(hw)
    device = next(model.parameters()).device
    with torch.inference_mode():
        output = model(images.to(device))
    expected = (output[0] if isinstance(output, list | tuple) else output).float().cpu()
    got = backend(images.to(backend.device)).float().cpu()
    if backend.end2end:
        got, expected = got.transpose(1, 2), expected.transpose(1, 2)  # rows of boxes to columns, as without NMS
    return Difference(hw, relative_difference(got, expected), relative_difference(expected[:1], expected[1:]))


def relative_difference(got: Tensor, expected: Tensor) -> float:
    """Greatest difference of two outputs (B, 4 + nc, N) as `Difference.relative` has it."""
    if got.shape != expected.shape or not (got.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    parts = ((got[:, rows], expected[:, rows]) for rows in (slice(0, 4), slice(4, None)))
    return max(((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item() for a, b in parts)


def pictures(hw: tuple[int, int]) -> Tensor:
    """(2, 3, H, W) patches of colour with noise on them, 0..1: the same at every call."""
    generator = torch.Generator().manual_seed(0)
    patches = F.interpolate(torch.rand(IMAGES, 3, 6, 6, generator=generator), hw, mode="bilinear")
    return 0.8 * patches + 0.2 * torch.rand(IMAGES, 3, *hw, generator=generator)


def warn_if_blind(differences: list[Difference], limit: float) -> None:
    """Say so if the output hardly depends on the image: the agreement of such outputs shows nothing."""
    if max(d.response for d in differences) < 10 * limit:
        LOGGER.warning(
            "The model gives nearly the same output for different pictures, as an untrained one does, or finds no box "
            "in them: that the exported one agrees with it shows little."
        )
