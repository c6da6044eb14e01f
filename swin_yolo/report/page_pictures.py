"""Pictures in a page of bounded size."""

from collections.abc import Sequence

import cv2
import numpy as np

QUALITIES = (85, 75, 60, 45, 30)


def jpegs_within(pictures: Sequence[np.ndarray], most_bytes: int) -> list[bytes]:
    """Pictures as JPEG, at the highest quality at which all together take at most `most_bytes`.

    Where they do not even at the lowest, there are fewer: the last are left out.

    Args:
        pictures: (H, W, 3) uint8, BGR.
        most_bytes: of all files together.
    """
    files: list[bytes] = []
    for quality in QUALITIES:
        files = [_encoded(picture, quality) for picture in pictures]
        if sum(map(len, files)) <= most_bytes:
            break
    while files and sum(map(len, files)) > most_bytes:
        files.pop()
    return files


def _encoded(picture: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
