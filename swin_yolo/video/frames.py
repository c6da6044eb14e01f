"""A frame and where it comes from, and what went wrong on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from swin_yolo.video.sources import Source


@dataclass(frozen=True)
class Clip:
    """An opened source: one image, one video or one live stream.

    Attributes:
        source: what was opened.
        fps: frames per second that it is to be played at, those left out by the stride not counted; None of an image.
        live: whether frames come when they happen, not when they are asked for.
    """

    source: Source
    fps: float | None = None
    live: bool = False


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        clip: what it is of.
        index: its number in the clip from 0 on, frames left out by the stride counted.
        seconds: from the clip's start.
    """

    image_bgr: np.ndarray
    clip: Clip
    index: int = 0
    seconds: float = 0.0


@dataclass
class Remarks:
    """What a user must hear of.

    Attributes:
        tell: takes a line at once.
        faults: by which something is missing in the output, a line each; to be told at the end.
    """

    tell: Callable[[str], None] = print
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, why: str) -> None:
        """Something is missing: a file that cannot be read, the end of a video, a stream that is gone."""
        self.faults.append(f"{what}: {why}")

    def note(self, what: str, how: str) -> None:
        """Nothing is missing, but it is not what one would expect."""
        self.tell(f"{what}: {how}")
