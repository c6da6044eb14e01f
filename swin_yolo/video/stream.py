"""A live source: the newest frame whenever one is asked for, across drops of the connection."""

import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from swin_yolo.video.capture import connect, frame_rate
from swin_yolo.video.frames import Clip, Frame, Remarks
from swin_yolo.video.sources import Source

# Seconds between tries to connect again: doubled from the first to the last.
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
# What a camera that does not say its frame rate is taken to have, frames per second.
CAMERA_FPS = 25.0


def read_live(
    capture: cv2.VideoCapture,
    source: Source,
    *,
    vid_stride: int,
    remarks: Remarks,
    reconnect_seconds: float,
    stopping: threading.Event,
) -> Iterator[Frame]:
    """Frames of a camera or stream, timed by the clock, until it is gone for `reconnect_seconds`.

    Frames that come while no one asks are dropped, so that what is seen is what is happening; `index` counts them.

    Args:
        capture: of the source, where the first connection was tried.
        source: to connect to again.
        vid_stride: 3 takes every third frame.
        remarks: takes drops and the end.
        reconnect_seconds: how long to try.
        stopping: ends the waiting for frames and connections.
    """
    if not capture.isOpened():
        remarks.fault(source.shown, "cannot be opened; is it there, and is the address right?")
        return
    clip = Clip(source, (frame_rate(capture) or CAMERA_FPS) / vid_stride, live=True)
    start = last_seen = time.monotonic()
    count, wait = 0, FIRST_WAIT
    while not stopping.is_set():
        newest = _Newest(capture, count=count, vid_stride=vid_stride)
        try:
            while (taken := newest.take(stopping)) is not None:
                image_bgr, index, last_seen = taken
                wait = FIRST_WAIT
                yield Frame(image_bgr, clip, index, last_seen - start)
        finally:
            newest.end()
        count = newest.count
        gone = time.monotonic() - last_seen
        if stopping.is_set():
            return
        if gone >= reconnect_seconds:
            remarks.fault(source.shown, f"gave up, no frame for {gone:.0f} s (--reconnect {reconnect_seconds:g})")
            return
        pause = min(wait, reconnect_seconds - gone)
        remarks.note(source.shown, f"no more frames after {count}; connecting again in {pause:.1f} s")
        capture.release()
        stopping.wait(pause)
        connect(capture, source.address)
        wait = min(2 * wait, LONGEST_WAIT)


class _Newest:
    """A thread that reads a capture as fast as it gives frames and keeps the newest."""

    def __init__(self, capture: cv2.VideoCapture, *, count: int, vid_stride: int):
        self.count = count
        self._capture, self._vid_stride = capture, vid_stride
        self._slot: tuple[np.ndarray, int, float] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self, stopping: threading.Event) -> tuple[np.ndarray, int, float] | None:
        """Image, number and time of the newest frame that was not taken yet; None when there will be no more."""
        with self._changed:
            while self._slot is None and not self._ended and not stopping.is_set():
                self._changed.wait(0.1)
            taken, self._slot = self._slot, None
            return None if stopping.is_set() else taken

    def end(self) -> None:
        """Stop reading; back when the capture is no longer in use."""
        self._ended = True
        self._thread.join()

    def _read(self) -> None:
        while not self._ended and self._capture.grab():
            index, self.count = self.count, self.count + 1
            if index % self._vid_stride:
                continue
            done, image_bgr = self._capture.retrieve()
            if done:
                with self._changed:
                    self._slot = (image_bgr, index, time.monotonic())
                    self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()
