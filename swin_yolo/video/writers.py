"""Annotated videos, in the first of some codecs that this build of OpenCV can write."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from swin_yolo.errors import InputError
from swin_yolo.video.capture import frame_count, opened
from swin_yolo.video.frames import Remarks

# Writing stops while there is still this much room on the disk, in bytes, so that files can be closed properly.
RESERVE = 32 << 20


@dataclass(frozen=True)
class Codec:
    """A way to store video: its name, the four characters by which OpenCV knows it, the container's suffix."""

    name: str
    fourcc: str
    suffix: str


# Browsers play the first two; VP9, which they play too, takes libvpx six times as long as VP8.
CODECS = {
    "h264": Codec("H.264", "avc1", ".mp4"),
    "vp8": Codec("VP8", "VP80", ".webm"),
    "mpeg4": Codec("MPEG-4 Part 2", "mp4v", ".mp4"),
    "mjpeg": Codec("Motion JPEG", "MJPG", ".avi"),
}


class VideoOutput:
    """A video file of one size and frame rate, opened with its first frame.

    Args:
        file: path without suffix, which the codec gives.
        fps: frames per second.
        codecs: to try in this order.
        remarks: takes what is not as one would expect.

    Raises:
        OSError: from `write` and `close`, if the file cannot be written whole; what is there can be played.
    """

    def __init__(self, file: Path, *, fps: float, codecs: Sequence[Codec], remarks: Remarks):
        self.file = file
        self.frames = 0
        self._fps, self._codecs, self._remarks = fps, codecs, remarks
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._scaled = False

    def write(self, image_bgr: np.ndarray, *, copies: int = 1) -> None:
        """Append an (H, W, 3) frame, or `copies` of it; one of another size than the first is fitted into that."""
        if self._writer is None:
            self._writer = self._open(image_bgr)
        size_wh = (image_bgr.shape[1], image_bgr.shape[0])
        if size_wh != self._size_wh:
            if not self._scaled:
                first, now = ("{} x {}".format(*wh) for wh in (self._size_wh, size_wh))
                self._remarks.note(
                    str(self.file), f"frame {self.frames} is {now}, the first was {first}; fitted into that"
                )
                self._scaled = True
            image_bgr = fitted(image_bgr, self._size_wh)
        for _ in range(copies):
            self._writer.write(image_bgr)
            self.frames += 1

    def close(self) -> None:
        """Finish the file; it can be played then."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        # OpenCV's writer does not say when the disk is full.
        with opened(str(self.file)) as capture:
            there = (frame_count(capture) or 0) if capture.isOpened() and capture.grab() else 0
        if there < self.frames - 2:
            raise OSError(f"{self.file}: holds {there} of the {self.frames} frames written, is the disk full?")

    def _open(self, image_bgr: np.ndarray) -> cv2.VideoWriter:
        self._size_wh = (image_bgr.shape[1], image_bgr.shape[0])
        for codec in self._codecs:
            file = self.file.with_name(self.file.name + codec.suffix)
            writer = open_writer(file, codec, self._fps, self._size_wh)
            if writer.isOpened():
                self.file = file
                if any(side % 2 for side in self._size_wh):
                    even = " x ".join(str(side // 2 * 2) for side in self._size_wh)
                    self._remarks.note(str(file), f"is {even}, without the last row or column: codecs take even sides")
                return writer
            writer.release()
        names = ", ".join(codec.name for codec in self._codecs)
        raise OSError(f"{self.file}: OpenCV opens no writer for it; tried {names}")


def choose_codecs(codec: str | None, remarks: Remarks) -> list[Codec]:
    """The codecs to write with: that of the name, or of all those which this OpenCV can write; says what is missing.

    Raises:
        InputError: if there is none.
    """
    wanted = [CODECS[codec]] if codec else list(CODECS.values())
    able = [each for each in wanted if can_write(each)]
    if not able:
        flag = f"--codec {codec}" if codec else "video"
        raise InputError(f"{flag}: this build of OpenCV writes no {' or '.join(each.name for each in wanted)}")
    if missing := wanted[: wanted.index(able[0])]:
        names = ", ".join(each.name for each in missing)
        remarks.note("video", f"{able[0].name} ({able[0].suffix}), since this build of OpenCV writes no {names}")
    return able


@lru_cache(maxsize=len(CODECS))
def can_write(codec: Codec) -> bool:
    """Whether this build of OpenCV writes a small video that it can read again."""
    with tempfile.TemporaryDirectory(prefix="swin_yolo_") as folder:
        file = Path(folder, f"probe{codec.suffix}")
        writer = open_writer(file, codec, 10.0, (64, 64))
        if not writer.isOpened():
            return False
        writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        with opened(str(file)) as capture:
            return capture.isOpened() and bool(capture.grab())


def open_writer(file: Path, codec: Codec, fps: float, size_wh: tuple[int, int]) -> cv2.VideoWriter:
    """OpenCV's writer, which may turn out not to be opened."""
    with _without_stderr():
        return cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec.fourcc), fps, size_wh)


def fitted(image_bgr: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The image as large as it goes into `size_wh` with its sides in proportion, black around it."""
    (w, h), (height, width) = size_wh, image_bgr.shape[:2]
    scale = min(w / width, h / height)
    inner_w, inner_h = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = (w - inner_w) // 2, (h - inner_h) // 2
    canvas = np.zeros((h, w, 3), np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(image_bgr, (inner_w, inner_h))
    return canvas


def check_room(folder: Path) -> None:
    """Raise OSError when the disk is nearly full: while files can still be closed properly."""
    free = shutil.disk_usage(folder).free
    if free < RESERVE:
        raise OSError(f"{folder}: the disk is full, {free >> 20} MiB are left; stopped while files can be closed")


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what OpenCV and FFmpeg print themselves, past any log level, when a codec or its tag does not fit."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
