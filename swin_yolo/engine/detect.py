"""Detection in images, videos and streams: one public function, from weights to annotated files and detections.json."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from swin_yolo.engine.annotated import Annotator
from swin_yolo.engine.detector import Detections, Detector, PreparedFrame, choose_classes
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.precision import open_in
from swin_yolo.engine.run_outputs import RunOutputs, Wanted, open_outputs
from swin_yolo.engine.slicing import Slicing
from swin_yolo.engine.tracking import Tracker, least_score
from swin_yolo.errors import InputError
from swin_yolo.video.capture import silent_opencv
from swin_yolo.video.frames import Frame, Remarks
from swin_yolo.video.pipeline import Pipeline, batches, stopped_by_ctrl_c
from swin_yolo.video.progress import Progress
from swin_yolo.video.reading import count_frames, read_frames
from swin_yolo.video.screen import check_screen, close_window, show
from swin_yolo.video.sources import find_sources
from swin_yolo.video.writers import choose_codecs

DEFAULT_IMGSZ = 640
MEASURED_FROM = 50  # frames: with fewer, measuring takes longer than it saves


@dataclass(frozen=True)
class DetectionRun:
    """A finished run.

    Attributes:
        save_dir: folder written.
        frames: how many were.
        boxes: in them, by class name.
        faults: what is missing in the output and why, a line each.
        interrupted: whether Ctrl-C ended it.
    """

    save_dir: Path
    frames: int
    boxes: Counter[str]
    faults: list[str]
    interrupted: bool


Found = tuple[Frame, Detections]
Done = tuple[Frame, Detections, np.ndarray | None]


def detect(
    weights: str | Path,
    source: str | Path | Sequence[str | Path],
    *,
    save_dir: Path,
    imgsz: int | tuple[int, int] | None = None,
    batch_size: int = 4,
    device: str = "",
    precision: str = "fp32",
    trust: bool = False,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    max_det: int = 300,
    classes: Sequence[str] | None = None,
    vid_stride: int = 1,
    track: str | None = None,
    slicing: Slicing | None = None,
    save: bool = True,
    save_txt: bool = False,
    save_csv: bool = False,
    save_crop: bool = False,
    codec: str | None = None,
    line_thickness: int | None = None,
    hide_labels: bool = False,
    view_img: bool = False,
    reconnect_seconds: float = 60.0,
) -> DetectionRun:
    """Find objects in everything that `source` names, and write what was found into `save_dir`.

    Reading, inference, drawing and writing overlap; frames keep their order and memory does not grow with their number.
    detections.json is a COCO results list: image_id counts the frames of the run, category_id is the model's class
    index; category_name, file_name, frame, timestamp (seconds) and, with `track`, track_id say more.

    Args:
        weights: checkpoint or exported model.
        source: see `find_sources`.
        save_dir: folder to write to; made with the first frame.
        imgsz: longer side, or (H, W), that frames are scaled to, in pixels; None takes that of the export, or 640.
        batch_size: images per forward pass; a live stream takes 1.
        device: as ultralytics names devices; "" takes the first GPU, or the CPU.
        precision: to infer in: fp32, bf16, fp16 (on a GPU), or auto, which takes the fastest here, by a measurement
            where there are `MEASURED_FROM` frames to come or more.
        trust: run whatever code the checkpoint holds.
        conf_thres: detections below this score are left out; with `track`, they start no track.
        iou_thres: IoU above which NMS removes the weaker of two boxes.
        max_det: most detections a frame may have.
        classes: names or numbers of those to find; None finds all.
        vid_stride: 3 takes every third frame of videos and streams.
        track: "bytetrack" or "botsort" gives objects their ids.
        slicing: look at overlapping parts of each frame too.
        save: write annotated images and videos.
        save_txt: write YOLO label files.
        save_csv: write detections.csv.
        save_crop: write every box as an image.
        codec: key of CODECS for videos; None takes the first that OpenCV can write.
        line_thickness: of boxes, pixels; None scales it to the frame.
        hide_labels: draw boxes alone.
        view_img: show frames in a window; q ends the run.
        reconnect_seconds: how long to try to reach a stream again that dropped.

    Raises:
        InputError: if weights, source or a setting cannot be used, or not one frame could be read.
    """
    sources = find_sources(source)
    if view_img:
        check_screen()
    with silent_opencv():
        total = count_frames(sources, vid_stride=vid_stride)
    side = imgsz or DEFAULT_IMGSZ
    measured = total is None or total >= MEASURED_FROM
    hw = (side, side) if isinstance(side, int) else side
    backend = open_in(
        precision,
        weights,
        device=choose_device(device),
        trust=trust,
        imgsz=imgsz,
        measure_hw=hw if measured else None,
    )
    if len(sources) == 1 and sources[0].kind != "image" and slicing is None:
        backend.expect_one_size()
    detector = Detector(
        backend,
        imgsz=side,
        batch_size=batch_size,
        conf_thres=least_score(conf_thres) if track else conf_thres,
        iou_thres=iou_thres,
        max_det=max_det,
        class_indices=choose_classes(classes, backend.names),
        slicing=slicing,
    )
    tracker = Tracker(track, conf_thres=conf_thres) if track else None
    annotator = Annotator(backend.names, line_thickness=line_thickness, hide_labels=hide_labels)
    with silent_opencv(), closing(Pipeline()) as pipeline, stopped_by_ctrl_c(pipeline) as interrupted:
        progress = Progress(total)
        remarks = Remarks(progress.say)
        codecs = choose_codecs(codec, remarks) if save and any(each.kind != "image" for each in sources) else []
        frames = read_frames(
            sources,
            vid_stride=vid_stride,
            remarks=remarks,
            reconnect_seconds=reconnect_seconds,
            stopping=pipeline.stopping,
        )
        together = 1 if any(each.kind == "stream" for each in sources) else batch_size
        prepared = pipeline.ahead(batches(map(detector.prepare, frames), together))
        found = pipeline.ahead(_found(prepared, detector))
        done = pipeline.ahead(_drawn(found, tracker, annotator if save or view_img else None))
        first = _first(done, remarks, pipeline)
        wanted = Wanted(save=save, save_txt=save_txt, save_csv=save_csv, save_crop=save_crop)
        with open_outputs(save_dir, backend.names, wanted, codecs=codecs, remarks=remarks) as outputs:
            _write(chain([first], done), outputs, remarks, progress, view_img=view_img)
        progress.close()
    return DetectionRun(save_dir, outputs.frames, outputs.boxes, remarks.faults, interrupted.is_set())


def _found(batches_of_frames: Iterable[list[PreparedFrame]], detector: Detector) -> Iterator[list[Found]]:
    """Batches of frames with what is in them."""
    for batch in batches_of_frames:
        frames = [prepared.frame for prepared in batch]
        yield list(zip(frames, detector.detect(batch), strict=True))


def _drawn(found: Iterable[list[Found]], tracker: Tracker | None, annotator: Annotator | None) -> Iterator[Done]:
    """Frames one by one, with what is tracked in them and, given an annotator, drawn on."""
    for batch in found:
        for frame, detections in batch:
            tracked = tracker.update(frame, detections) if tracker else detections
            yield frame, tracked, annotator.draw(frame, tracked) if annotator else None


def _first(done: Iterator[Done], remarks: Remarks, pipeline: Pipeline) -> Done:
    """The first frame; no file is written before there is one."""
    first = next(done, None)
    if first is not None:
        return first
    if pipeline.stopping.is_set():
        raise KeyboardInterrupt
    raise InputError(f"--source: not one frame could be read; {'; '.join(remarks.faults)}")


def _write(done: Iterable[Done], outputs: RunOutputs, remarks: Remarks, progress: Progress, *, view_img: bool) -> None:
    """Write and show frames until there are no more, the disk is full, or the user wants no more."""
    for frame, detections, drawn_bgr in done:
        try:
            outputs.write(frame, detections, drawn_bgr)
        except OSError as e:
            remarks.fault("output", f"stopped after {outputs.frames} frames: {e.strerror or e}")
            break
        progress.update()
        if view_img and drawn_bgr is not None and not show(drawn_bgr):
            break
    if view_img:
        close_window()
