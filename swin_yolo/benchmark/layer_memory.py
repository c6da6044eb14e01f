"""Peak memory of a training step of a Swin-T, in a process of its own."""

import torch

from swin_yolo.benchmark.swin_peers import LIBRARIES, last_map
from swin_yolo.machine import peak_resident_bytes, reset_peak_resident_bytes
from swin_yolo.own_process import in_own_process

STEPS = 2


def training_peak(name: str, window: int, image_hw: tuple[int, int], batch: int, device: torch.device) -> int:
    """Bytes that a step takes beyond those of the loaded model.

    On a GPU, what PyTorch allocated there; on a CPU, memory of the process.

    Args:
        name: a key of `LIBRARIES`.
        window: side of a window in tokens.
        image_hw: size of the images in pixels.
        batch: images of a step.
        device: to compute on.
    """
    return in_own_process(_peak_here, name, window, image_hw, batch, device)


def _peak_here(name: str, window: int, image_hw: tuple[int, int], batch: int, device: torch.device) -> int:
    swin = LIBRARIES[name](window, image_hw)
    swin.module.to(device).eval()
    images = torch.rand(batch, 3, *image_hw, device=device)
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if on_gpu else reset_peak_resident_bytes()
    for _ in range(STEPS):
        last_map(swin.backbone(images)).sum().backward()
    return (torch.cuda.max_memory_allocated(device) if on_gpu else peak_resident_bytes()) - before
