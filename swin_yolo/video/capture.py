"""OpenCV's VideoCapture, quiet and with the numbers that it makes up taken out."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

# The longest that opening or one read of a stream may take, in seconds.
STREAM_TIMEOUT = 10.0
# FFmpeg writes what it dislikes in a file straight to stderr; read at the first use of OpenCV's video functions.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def opened(address: str | int) -> Iterator[cv2.VideoCapture]:
    """A VideoCapture of a path, URL or camera number, released at the end; ask it whether it is opened."""
    capture = cv2.VideoCapture()
    try:
        connect(capture, address)
        yield capture
    finally:
        capture.release()


def connect(capture: cv2.VideoCapture, address: str | int) -> None:
    """Open, or open again; a URL that is silent for STREAM_TIMEOUT ends as a file does."""
    if isinstance(address, str) and "://" in address:
        timeout = round(1000 * STREAM_TIMEOUT)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout]
        capture.open(address, cv2.CAP_FFMPEG, options)
    else:
        capture.open(address)


def frame_rate(capture: cv2.VideoCapture) -> float | None:
    """Frames per second that a source says it has; None where it says nothing that can be."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else None


def frame_count(capture: cv2.VideoCapture) -> int | None:
    """Frames that a file's header says it has; None of a stream, and where it does not say."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and 0 < count < 1e9 else None


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV from logging what is told in our words: cameras, files and codecs that it cannot open."""
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
