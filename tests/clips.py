"""Tiny videos and images of moving blocks, and a small detector's checkpoint to find things in them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from small_detectors import CONV_ONLY, detector, write_training_checkpoint

HW = (48, 64)


def picture(i: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """Frame i: its brightness says which it is of 40, a block moves to the right."""
    image = np.full((*hw, 3), 40 + 5 * (i % 40), np.uint8)
    left = (3 * i) % (hw[1] - 16)
    image[hw[0] // 3 : hw[0] // 3 + 14, left : left + 14] = (30, 200, 250)
    return image


def number(image: np.ndarray) -> int:
    """Which frame of `picture` an image is, as a video codec left it: OpenCV's make it darker by up to 4."""
    return round((float(np.median(image)) - 38) / 5)


def write_video(
    file: Path, frames: int = 20, *, fps: float = 10, hw: tuple[int, int] = HW, fourcc: str = "MJPG"
) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*fourcc), fps, hw[::-1])
    assert writer.isOpened()
    for i in range(frames):
        writer.write(picture(i, hw))
    writer.release()
    return file


def write_pictures(folder: Path, frames: int, *, suffix: str = ".png", hw: tuple[int, int] = HW) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"image{i:02}{suffix}" for i in range(frames)]
    for i, file in enumerate(files):
        assert cv2.imwrite(str(file), picture(i, hw))
    return files


def cut_off(file: Path, share: float) -> Path:
    """Leave only the first part of a file."""
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    return file


def read_video(file: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(file)), []
    while True:
        done, image = capture.read()
        if not done:
            return frames
        frames.append(image)


def small_checkpoint(file: Path) -> Path:
    """A detector that was never trained, yet gives scores around a half that go with what it sees."""
    model = detector(CONV_ONLY)
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].weight *= 150
            branch[-1].bias += 10
    return write_training_checkpoint(file, model)
