"""Frames with their boxes drawn, written as images and videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from swin_yolo.engine.detector import Detections
from swin_yolo.report.drawing import draw_boxes, write_image
from swin_yolo.report.palette import Colour, class_colours
from swin_yolo.video.frames import Clip, Frame, Remarks
from swin_yolo.video.writers import Codec, VideoOutput

# Image formats that OpenCV writes; what is read from others is written as JPEG.
WRITTEN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Annotator:
    """Draws detections: one colour per class, and the label in it.

    Args:
        names: class name of each class index.
        line_thickness: of boxes, pixels; None scales it to the frame.
        hide_labels: draw boxes alone.
    """

    def __init__(self, names: Mapping[int, str], *, line_thickness: int | None = None, hide_labels: bool = False):
        self._names, self._line_thickness, self._hide_labels = names, line_thickness, hide_labels
        self._colours: list[Colour] = class_colours(max(names, default=0) + 1)

    def draw(self, frame: Frame, detections: Detections) -> np.ndarray:
        """A copy of a frame with boxes, and labels such as "person 0.87", or "person #3 0.87" of a track."""
        return draw_boxes(
            frame.image_bgr,
            detections.boxes_xyxy,
            [""] * len(detections) if self._hide_labels else list(self._labels(detections)),
            [self._colours[index] for index in detections.class_indices],
            line_thickness=self._line_thickness,
        )

    def _labels(self, detections: Detections) -> Sequence[str]:
        ids = [""] * len(detections) if detections.track_ids is None else [f" #{i}" for i in detections.track_ids]
        rows = zip(detections.class_indices, ids, detections.scores, strict=True)
        return [f"{self._names[int(index)]}{track} {score:.2f}" for index, track, score in rows]


class AnnotatedFiles:
    """Writes drawn frames: an image for an image, a video for a video, of the same name.

    Args:
        folder: to write into.
        codecs: to try for videos, in this order.
        remarks: takes what is not as one would expect.
    """

    def __init__(self, folder: Path, *, codecs: Sequence[Codec], remarks: Remarks):
        self.files: list[Path] = []
        self._folder, self._codecs, self._remarks = folder, codecs, remarks
        self._clip: Clip | None = None
        self._video: VideoOutput | None = None

    def write(self, frame: Frame, drawn_bgr: np.ndarray) -> None:
        """Write a frame; the video of another clip is finished first.

        Raises:
            OSError: if it cannot be written.
        """
        clip = frame.clip
        if clip != self._clip:
            self.close()
            self._clip = clip
        if clip.fps is None:
            suffix = Path(str(clip.source.address)).suffix
            file = self._folder / f"{clip.source.stem}{suffix if suffix.lower() in WRITTEN_SUFFIXES else '.jpg'}"
            write_image(drawn_bgr, file)
            return
        if self._video is None:
            stem = self._folder / clip.source.stem
            self._video = VideoOutput(stem, fps=clip.fps, codecs=self._codecs, remarks=self._remarks)
        # Frames of a live stream come when they come: each is shown until the next, so that the video keeps time.
        copies = max(round(frame.seconds * clip.fps) + 1 - self._video.frames, 0) if clip.live else 1
        self._video.write(drawn_bgr, copies=copies)

    def close(self) -> None:
        """Finish the video that is being written.

        Raises:
            OSError: if it could not be written whole.
        """
        video, self._video = self._video, None
        if video is not None:
            self.files.append(video.file)
            video.close()
