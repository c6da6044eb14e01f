"""A window that shows frames as they are done."""

import os
import subprocess
import sys

import cv2
import numpy as np

from swin_yolo.errors import InputError

WINDOW = "swin-yolo"
PROBE = f"import cv2; cv2.namedWindow('{WINDOW}'); cv2.destroyAllWindows()"


def check_screen(flag: str = "--view-img", fix: str = "leave it out, the files are written") -> None:
    """Raise InputError unless windows can be opened here.

    Where OpenCV finds no screen it ends the whole process; so another process tries.

    Args:
        flag: that asks for a window, for the message.
        fix: what to do without one.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError(f"{flag}: there is no screen here (DISPLAY is not set); {fix}")
    try:
        tried = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=60, check=False)
        works = tried.returncode == 0
    except subprocess.TimeoutExpired:
        works = False
    if not works:
        raise InputError(f"{flag}: OpenCV can open no window here; {fix}")


def show(image_bgr: np.ndarray) -> bool:
    """Show a frame; False when the user pressed q or Esc. Only the main thread may call this."""
    cv2.imshow(WINDOW, image_bgr)
    return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def close_window() -> None:
    """Close the window of `show`."""
    cv2.destroyAllWindows()
