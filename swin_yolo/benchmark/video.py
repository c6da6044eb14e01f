"""From a video file to the annotated one: ours, exported and not, beside ultralytics' `predict(save=True)`."""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import torch
from ultralytics import YOLO

from swin_yolo.benchmark.report import Table, speed_table
from swin_yolo.engine.detect import detect
from swin_yolo.engine.device import available_cores
from swin_yolo.engine.export import export
from swin_yolo.engine.model import load_model
from swin_yolo.timing import interleaved

# ultralytics' own, at its own thresholds; ours are given the same.
CONF_THRES, IOU_THRES, MAX_DET = 0.25, 0.7, 300
THEIRS = "ultralytics predict"
CODEC = "mjpeg"  # what ultralytics writes on Linux; ours by default is one that browsers play, which costs more


@dataclass(frozen=True)
class VideoSettings:
    """What is detected in what.

    Attributes:
        weights: a checkpoint; no code of it is run.
        source: the video.
        imgsz: longer side that frames are scaled to, in pixels.
        device: as ultralytics names devices.
        rounds: how often the video is gone through by each.
        exports: formats that are measured too, exported for this.
    """

    weights: Path
    source: Path
    imgsz: int = 640
    device: str = "cpu"
    rounds: int = 3
    exports: tuple[str, ...] = ("onnx", "openvino")


def video(settings: VideoSettings) -> Table:
    """Frames/s from the video file to the annotated one."""
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        ways = _ways(settings, Path(folder))
        frames = _frame_count(settings.source)
        with _first_frames(settings.source, Path(folder) / "warm-up.avi") as short:
            boxes = {name: way(short) for name, way in ways.items()}
        boxes.clear()

        def run(name: str) -> None:
            boxes[name] = ways[name](settings.source)

        times = interleaved({name: partial(run, name) for name in ways}, rounds=settings.rounds, warmup=0)
    found = ", ".join(f"{name} {number:,}" for name, number in boxes.items())
    same = (
        f"Same checkpoint, {settings.imgsz} px, score {CONF_THRES}, IoU {IOU_THRES}, annotated video written, as "
        f"Motion JPEG but for the last row. Boxes found: {found}."
    )
    title = f"{settings.source.name}, {frames} frames, {settings.weights.name}"
    return speed_table(title, times, against=THEIRS, amount=frames, unit="frames", remarks=[same])


def _ways(settings: VideoSettings, folder: Path) -> dict[str, Callable[[Path], int]]:
    """Functions that go through a video, write it annotated and give the number of boxes, by name."""
    # Read as data and written anew: ultralytics unpickles what it is given. Under another name, since it would fetch
    # yolov5nu.pt in the place of a yolov5n.pt.
    copy = folder / "model.pt"
    torch.save({"model": load_model(settings.weights)}, copy)
    ours = partial(_ours, settings, folder)
    ways: dict[str, Callable[[Path], int]] = {THEIRS: partial(_theirs, settings, folder, copy, threads=None)}
    if settings.device == "cpu" and available_cores() > 1:
        # Importing ultralytics leaves PyTorch a single thread unless OMP_NUM_THREADS says otherwise.
        ways[f"{THEIRS}, all cores"] = partial(_theirs, settings, folder, copy, threads=available_cores())
    ways["ours, .pt, fp32"] = partial(ours, copy, "fp32", CODEC)
    ways["ours, .pt"] = partial(ours, copy, "auto", CODEC)
    with _quiet():
        for exported in export(copy, settings.exports, imgsz=settings.imgsz, dynamic=True):
            ways[f"ours, {exported.format}"] = partial(ours, exported.file, "auto", CODEC)
    ways["ours, .pt, default codec"] = partial(ours, copy, "auto", None)
    return ways


def _ours(settings: VideoSettings, folder: Path, weights: Path, precision: str, codec: str | None, source: Path) -> int:
    with _quiet():
        run = detect(
            weights,
            source,
            save_dir=folder / "ours",
            imgsz=settings.imgsz,
            device=settings.device,
            precision=precision,
            codec=codec,
            conf_thres=CONF_THRES,
            iou_thres=IOU_THRES,
            max_det=MAX_DET,
        )
    return run.boxes.total()


def _theirs(settings: VideoSettings, folder: Path, weights: Path, source: Path, *, threads: int | None) -> int:
    torch.set_num_threads(threads or int(os.environ.get("OMP_NUM_THREADS") or 1))
    results = YOLO(weights).predict(
        source,
        save=True,
        stream=True,  # as its documentation asks for with videos
        imgsz=settings.imgsz,
        device=settings.device,
        conf=CONF_THRES,
        iou=IOU_THRES,
        max_det=MAX_DET,
        project=str(folder),
        name="theirs",
        exist_ok=True,
        verbose=False,
    )
    return sum(len(result.boxes) for result in results)


def _frame_count(source: Path) -> int:
    return int(cv2.VideoCapture(str(source)).get(cv2.CAP_PROP_FRAME_COUNT))


@contextlib.contextmanager
def _first_frames(source: Path, file: Path, frames: int = 8) -> Iterator[Path]:
    """The start of a video, to load everything with once before the clock runs."""
    capture = cv2.VideoCapture(str(source))
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
    for _ in range(frames):
        writer.write(capture.read()[1])
    writer.release()
    capture.release()
    yield file


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
