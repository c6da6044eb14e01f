"""Sources as a sequence of frames; what cannot be read is remarked on and left out."""

from collections.abc import Iterator, Sequence
from threading import Event

import cv2
from ultralytics.utils.patches import imread

from swin_yolo.video.capture import frame_count, frame_rate, opened
from swin_yolo.video.frames import Clip, Frame, Remarks
from swin_yolo.video.sources import Source
from swin_yolo.video.stream import read_live

# What a video of unknown frame rate is taken to have, frames per second.
USUAL_FPS = 25.0


def read_frames(
    sources: Sequence[Source], *, vid_stride: int, remarks: Remarks, reconnect_seconds: float, stopping: Event
) -> Iterator[Frame]:
    """Every frame of every source, decoded when asked for.

    Args:
        sources: as `find_sources` gives them.
        vid_stride: 3 takes every third frame of a video or stream.
        remarks: takes what could not be read.
        reconnect_seconds: how long to try to reach a stream again that dropped.
        stopping: ends the waiting for a stream.
    """
    for source in sources:
        if source.kind == "image":
            yield from _read_image(source, remarks)
            continue
        with opened(source.address) as capture:
            if source.kind == "video" or frame_count(capture) is not None:  # a URL may be that of a file
                yield from _read_video(capture, source, vid_stride, remarks)
            else:
                yield from read_live(
                    capture,
                    source,
                    vid_stride=vid_stride,
                    remarks=remarks,
                    reconnect_seconds=reconnect_seconds,
                    stopping=stopping,
                )


def count_frames(sources: Sequence[Source], *, vid_stride: int) -> int | None:
    """Frames to come, as the headers of the files have it; None with a live source."""
    total = 0
    for source in sources:
        if source.kind == "image":
            total += 1
            continue
        if source.kind == "stream":
            return None
        with opened(source.address) as capture:
            total += -(-(frame_count(capture) or 0) // vid_stride)
    return total


def _read_image(source: Source, remarks: Remarks) -> Iterator[Frame]:
    try:
        image_bgr = imread(str(source.address), cv2.IMREAD_COLOR)
    except Exception as e:  # each decoder behind it has exceptions of its own
        remarks.fault(source.shown, f"skipped, cannot be decoded as an image ({type(e).__name__})")
        return
    if image_bgr is None:
        remarks.fault(source.shown, "skipped, cannot be decoded as an image")
        return
    yield Frame(image_bgr, Clip(source))


def _read_video(capture: cv2.VideoCapture, source: Source, vid_stride: int, remarks: Remarks) -> Iterator[Frame]:
    if not capture.isOpened():
        remarks.fault(source.shown, "skipped, cannot be opened as a video")
        return
    fps = frame_rate(capture)
    if fps is None:
        remarks.note(source.shown, f"does not say its frame rate, taken as {USUAL_FPS:g} frames/s")
        fps = USUAL_FPS
    clip, said = Clip(source, fps / vid_stride), frame_count(capture)
    index = damaged = 0
    while capture.grab():
        if index % vid_stride == 0:
            # A container without times gives 0 for all.
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or index / fps
            done, image_bgr = capture.retrieve()
            if done:
                yield Frame(image_bgr, clip, index, seconds)
            damaged += not done
        index += 1
    if index == 0:
        remarks.fault(source.shown, "skipped, not one frame of it can be decoded")
    # Headers of whole files may be a frame or two off, and their lengths rounded.
    elif said is not None and said - index > max(2, said // 100):
        remarks.fault(source.shown, f"ends after {index} of {said} frames, it is cut off or damaged; those are kept")
    if damaged:
        remarks.fault(source.shown, f"{damaged} frames cannot be decoded and are left out")
