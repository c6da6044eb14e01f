"""Time and memory to open a large annotation file: ours beside pycocotools, each time in a fresh process."""

import contextlib
import io
import os
import pickle
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools.coco import COCO as PycocotoolsCOCO
from torch.utils.data import DataLoader

from swin_yolo.benchmark.report import Table, figure
from swin_yolo.benchmark.synthetic_coco import COCO, Scale, write_coco
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.dataset import CocoDataset
from swin_yolo.machine import peak_resident_bytes, reset_peak_resident_bytes
from swin_yolo.own_process import in_own_process
from swin_yolo.timing import Timing, ratio

THEIRS, FIRST, AGAIN = "pycocotools.COCO()", "ours, first time", "ours, from the cache"
PARTS = (4, 2, 1)  # of the file, for the time by its length
LARGER_PARTS = (16, 4, 1)  # of the larger one


@dataclass(frozen=True)
class IndexSettings:
    """What is opened.

    Attributes:
        scale: size of the annotation file.
        larger: size of one that ours is measured on as well, once; None leaves it out.
        rounds: how often each way is timed.
    """

    scale: Scale = COCO
    larger: Scale | None = None
    rounds: int = 3


class Opened(NamedTuple):
    """Seconds to open a file, and memory of the process before and at most, in bytes."""

    seconds: float
    before: int
    peak: int


def index(settings: IndexSettings) -> Iterator[Table]:
    """Tables of opening a file, of files of several lengths, and of what a loader process costs."""
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as name:
        folder = Path(name)
        file = write_coco(folder / "set.json", settings.scale)
        yield _against_pycocotools(file, settings)
        yield _loader_process(file, folder)
        yield _by_length(folder, settings)
        if settings.larger is not None:
            file.unlink()
            yield _larger(folder, settings.larger)


def _against_pycocotools(file: Path, settings: IndexSettings) -> Table:
    taken: dict[str, list[Opened]] = {THEIRS: [], FIRST: [], AGAIN: []}
    for _ in range(settings.rounds):
        with tempfile.TemporaryDirectory(prefix="swin-yolo-cache-") as cache:
            for way, those in taken.items():
                those.append(in_own_process(_open, way, file, cache))
    times = {way: Timing(tuple(one.seconds for one in those)) for way, those in taken.items()}
    peak = {way: max(one.peak for one in those) for way, those in taken.items()}
    added = {way: max(one.peak - one.before for one in those) for way, those in taken.items()}
    rows, figures = [], {}
    for way, timing in times.items():
        faster, low, high = ratio(timing, times[THEIRS])
        # Where a peak cannot be reset, nothing may seem to be added.
        memory = [f"{_mb(of[way])} ({of[way] / max(of[THEIRS], 1):.2f})" for of in (added, peak)]
        speed = "1" if way == THEIRS else f"{faster:.1f} ({low:.1f} to {high:.1f})"
        rows.append((way, f"{figure(timing.median)} s", speed, *memory))
        figures[way] = {"seconds": timing.seconds, "ratio": faster, "added": added[way], "peak": peak[way]}
    remark = (
        f"{_described(settings.scale)}, {_mb(file.stat().st_size)}, in the system's page cache. Every process has "
        "imported PyTorch and ultralytics before, as one that trains has; what it took until then is left out of the "
        "memory added; in brackets, times that of pycocotools. Speeds: median of the rounds, quartiles in brackets."
    )
    columns = ("", "time", f"times as fast as {THEIRS}", "memory added at most", "whole process at most")
    return Table("Opening an annotation file", columns, rows, figures, (remark,))


def _by_length(folder: Path, settings: IndexSettings) -> Table:
    scales = [settings.scale.part(part) for part in PARTS]
    files = [write_coco(folder / f"part{part}.json", scale) for part, scale in zip(PARTS, scales, strict=True)]
    taken: dict[Path, list[float]] = {file: [] for file in files}
    for _ in range(settings.rounds):
        for file, seconds in taken.items():
            seconds.append(_first_time(file).seconds)
    rows, figures = [], {}
    for (file, seconds), scale in zip(taken.items(), scales, strict=True):
        typical = median(seconds)
        rows.append((f"{scale.boxes:,} boxes", f"{figure(typical)} s", _per_box(typical, scale)))
        figures[str(scale.boxes)] = {"seconds": seconds, "per_box": typical / scale.boxes}
        file.unlink()
    remark = f"Median of {settings.rounds} first times; the time is in proportion where all rows have as much per box."
    return Table("First time by number of boxes", ("", "time", "per box"), rows, figures, (remark,))


def _larger(folder: Path, scale: Scale) -> Table:
    rows, figures = [], {}
    for part in LARGER_PARTS:
        some = scale.part(part)
        file = write_coco(folder / "larger.json", some)
        with tempfile.TemporaryDirectory(prefix="swin-yolo-cache-") as cache:
            for way in (FIRST, AGAIN):
                one = in_own_process(_open, way, file, cache)
                memory = _mb(one.peak - one.before), _mb(one.peak)
                name = f"{some.boxes:,} boxes, {way}"
                rows.append((name, f"{figure(one.seconds)} s", _per_box(one.seconds, some), *memory))
                figures[name] = {"seconds": one.seconds, "per_box": one.seconds / some.boxes, "peak": one.peak}
    remark = f"{_described(scale)}, {_mb(file.stat().st_size)}, and parts of that; each opened once."
    columns = ("", "time", "per box", "memory added at most", "whole process at most")
    return Table("A larger annotation file", columns, rows, figures, (remark,))


def _loader_process(file: Path, folder: Path) -> Table:
    """What the dataset adds to the start of a process that loads images."""
    with tempfile.TemporaryDirectory(prefix="swin-yolo-cache-") as cache, _environment(SWIN_YOLO_CACHE=cache):
        split = CocoIndex.from_json(file, _images(folder, file))
        dataset = CocoDataset(split, augment=True)
        pickled = pickle.dumps(dataset)
        seconds = {"forked, until it is ready": _until_ready(dataset)}
        seconds["started afresh, to open the dataset"] = in_own_process(_unpickled, pickled)
    rows = [(name, f"{1000 * taken:,.0f} ms") for name, taken in seconds.items()]
    rows.append(("what is sent to one that is started afresh", f"{len(pickled):,} bytes"))
    figures: dict[str, dict[str, Any]] = {name: {"seconds": taken} for name, taken in seconds.items()}
    remark = "A process that is started afresh imports PyTorch as well, which is the same for any dataset and left out."
    return Table(
        f"A loader process, {len(split):,} images",
        ("", ""),
        rows,
        figures | {"pickle": {"bytes": len(pickled)}},
        (remark,),
    )


def _open(way: str, file: Path, cache: str) -> Opened:
    with _environment(SWIN_YOLO_CACHE=cache), contextlib.redirect_stdout(io.StringIO()):
        before, start = reset_peak_resident_bytes(), time.perf_counter()
        opened = PycocotoolsCOCO(str(file)) if way == THEIRS else CocoIndex.from_json(file, file.parent)
        seconds = time.perf_counter() - start
        del opened
        return Opened(seconds, before, peak_resident_bytes())


def _first_time(file: Path) -> Opened:
    with tempfile.TemporaryDirectory(prefix="swin-yolo-cache-") as cache:
        return in_own_process(_open, FIRST, file, cache)


def _images(folder: Path, file: Path) -> Path:
    """A folder in which every image of the file is a link to the same one: none is loaded."""
    images = folder / "images"
    images.mkdir()
    cv2.imwrite(str(folder / "image.jpg"), np.zeros((8, 8, 3), np.uint8))
    for name in CocoIndex.from_json(file, images).file_names:
        os.symlink(folder / "image.jpg", images / name)
    return images


def _until_ready(dataset: CocoDataset) -> float:
    ready = get_context("fork").SimpleQueue()
    nothing: Sequence[int] = ()
    loader: DataLoader = DataLoader(
        dataset,
        sampler=nothing,
        num_workers=1,
        worker_init_fn=partial(_say_ready, ready),
        multiprocessing_context="fork",
    )
    start = time.perf_counter()
    batches = iter(loader)
    ready.get()
    seconds = time.perf_counter() - start
    del batches
    return seconds


def _say_ready(ready: Any, worker_id: int) -> None:
    ready.put(worker_id)


def _unpickled(pickled: bytes) -> float:
    start = time.perf_counter()
    pickle.loads(pickled)
    return time.perf_counter() - start


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before: Mapping[str, str] = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _described(scale: Scale) -> str:
    with_polygons = "with" if scale.polygons else "without"
    return f"{scale.images:,} images, {scale.boxes:,} boxes {with_polygons} polygons"


def _per_box(seconds: float, scale: Scale) -> str:
    return f"{1e6 * seconds / scale.boxes:.2f} µs"


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
