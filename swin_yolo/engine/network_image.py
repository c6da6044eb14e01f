"""One image as the network takes it, and where its pixels went."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from ultralytics.data.augment import LetterBox


@dataclass(frozen=True, eq=False)
class NetworkImage:
    """A letterboxed image.

    Attributes:
        rgb: (H, W, 3) uint8.
        gain_xy: size of a pixel of the image in pixels of this.
        left, top: of the image in this, pixels.
    """

    rgb: np.ndarray
    gain_xy: tuple[float, float]
    left: int
    top: int

    def place(self, x: int, y: int) -> tuple[float, float]:
        """Where the centre of the image's pixel (x, y) lies in this, in pixels from its upper left corner."""
        return (x + 0.5) * self.gain_xy[0] + self.left, (y + 0.5) * self.gain_xy[1] + self.top

    def tensor(self, device: torch.device) -> Tensor:
        """(1, 3, H, W) float32 RGB, 0..1."""
        return torch.from_numpy(self.rgb).to(device).permute(2, 0, 1)[None].float() / 255


def letterboxed(image_bgr: np.ndarray, *, imgsz: int | tuple[int, int], stride: int) -> NetworkImage:
    """An image scaled to `imgsz` and padded with grey to multiples of `stride`, as `detect` does it.

    Args:
        image_bgr: (H, W, 3) uint8.
        imgsz: longer side, or (H, W), in pixels.
        stride: pixels.
    """
    letterbox = LetterBox((imgsz, imgsz) if isinstance(imgsz, int) else imgsz, auto=True, stride=stride)
    done = letterbox.get_params({"img": image_bgr})
    (width, height), (h, w) = done["new_unpad"], image_bgr.shape[:2]
    rgb = cv2.cvtColor(letterbox(image=image_bgr), cv2.COLOR_BGR2RGB)
    return NetworkImage(rgb, (width / w, height / h), done["left"], done["top"])
