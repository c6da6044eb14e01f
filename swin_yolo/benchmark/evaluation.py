"""Scoring a set as large as COCO's val2017: our validation but for the forward pass, beside pycocotools' own part."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swin_yolo.benchmark.drawn_detections import INPUT, PADDING, SIZE_WH, DrawnSet
from swin_yolo.benchmark.report import Table, figure, spread
from swin_yolo.comparison.costs import wait_for
from swin_yolo.engine.detections import batch_detections, suppressed
from swin_yolo.engine.device import choose_device
from swin_yolo.machine import peak_resident_bytes, reset_peak_resident_bytes
from swin_yolo.own_process import in_own_process
from swin_yolo.scoring.average_precision import Detection, score_detections
from swin_yolo.scoring.coco_objects import quiet
from swin_yolo.timing import Timing, ratio

# What a validation uses unless told otherwise.
CONF_THRES, IOU_THRES, MAX_DET, BATCH = 0.001, 0.7, 300, 16

NMS, ENTRIES, SCORING = "NMS", "boxes in original pixels", "matching and averages"
OURS = "ours, in all"
THEIRS = "pycocotools"


@dataclass(frozen=True)
class EvaluationSettings:
    """What is scored.

    Attributes:
        drawn: the set.
        device: that NMS runs on, as ultralytics names devices.
        rounds: how often each scores it.
    """

    drawn: DrawnSet = field(default_factory=DrawnSet)
    device: str = "cpu"
    rounds: int = 3


def evaluation(settings: EvaluationSettings) -> Table:
    """Seconds and memory of a validation without its forward pass, in turns with pycocotools on the same detections.

    Raises:
        RuntimeError: if the two do not give the same AP.
    """
    truth = settings.drawn.truth()
    seconds: dict[str, list[float]] = {name: [] for name in (NMS, ENTRIES, SCORING, OURS, THEIRS)}
    for _ in range(settings.rounds):
        taken = dict.fromkeys(seconds, 0.0)
        entries = detected(settings, taken)
        with _clock(taken, SCORING):
            ours = score_detections(truth, entries).metrics["AP"]
        written = json.dumps(entries)  # before loadRes writes into them; copies would give Python more to look through
        with _clock(taken, THEIRS):
            theirs = float(_stock(truth, entries).stats[0])
        if ours != theirs:
            raise RuntimeError(f"expected the AP of pycocotools, {theirs}, got {ours}")
        taken[OURS] = taken[NMS] + taken[ENTRIES] + taken[SCORING]
        for name, times in seconds.items():
            times.append(taken[name])
    what = (
        f"{settings.drawn.images:,} drawn images, {settings.drawn.nc} classes, {len(truth.anns):,} boxes, "
        f"{len(entries):,} detections after NMS; AP {ours:.3f} by both. pycocotools: loadRes, evaluate, accumulate and "
        "summarize. Memory: what the process took on top of the ground truth while it read the detections and scored "
        "them, in a process of its own."
    )
    timings = {name: Timing(tuple(times)) for name, times in seconds.items()}
    return _table(timings, _memory(settings.drawn, written), what)


def _table(timings: Mapping[str, Timing], memory: Mapping[str, int], what: str) -> Table:
    rows, figures = [], {}
    for name, timing in timings.items():
        share = ratio(timings[THEIRS], timing)  # of pycocotools' time
        fast, slow = timing.quartiles
        rows.append(
            (
                name,
                f"{figure(timing.median)} ({figure(fast)} to {figure(slow)})",
                "1" if name == THEIRS else spread(*share),
                f"{memory[name] / 1e6:,.0f}" if name in memory else "",
            )
        )
        figures[name] = {"seconds": timing.seconds, "share": share[0]}
        if name in memory:
            figures[name]["bytes"] = memory[name]
    columns = ("", "seconds", "times pycocotools' time", "memory, MB")
    return Table("Validation without the forward pass", columns, rows, figures, (what,))


def detected(settings: EvaluationSettings, taken: dict[str, float] | None = None) -> list[Detection]:
    """What our validation makes of the drawn outputs, batch by batch; adds to the seconds of `NMS` and `ENTRIES`."""
    taken = dict.fromkeys((NMS, ENTRIES), 0.0) if taken is None else taken
    drawn, device = settings.drawn, choose_device(settings.device)
    category_id_of = {k: k + 1 for k in range(drawn.nc)}
    entries: list[Detection] = []
    for first in range(0, drawn.images, BATCH):
        end = min(first + BATCH, drawn.images)
        output = drawn.outputs(first, end).to(device)
        wait_for(device)
        with _clock(taken, NMS):
            found = suppressed(output, conf_thres=CONF_THRES, iou_thres=IOU_THRES, max_det=MAX_DET, end2end=False)
            wait_for(device)
        batch = {
            "img": torch.empty(end - first, 3, INPUT, INPUT, device="meta"),
            "ori_shape": [SIZE_WH[::-1]] * (end - first),
            "ratio_pad": [PADDING] * (end - first),
            "im_file": [str(image + 1) for image in range(first, end)],
        }
        with _clock(taken, ENTRIES):
            entries += batch_detections(found, batch, _Named(), category_id_of)
    return entries


class _Named:
    """Images whose files are called by their ids."""

    def image_id_of(self, im_file: str) -> int:
        return int(im_file)


def _stock(truth: COCO, detections: list[Detection] | str) -> COCOeval:
    """An evaluation by pycocotools, as its own demo has it; `detections` may be a file."""
    with quiet():
        scored = COCOeval(truth, truth.loadRes(detections), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored


def _memory(drawn: DrawnSet, detections: str) -> dict[str, int]:
    """Bytes that each way takes to read the detections from a file, whose text this is, and to score them."""
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        file = Path(folder) / "detections.json"
        file.write_text(detections)
        return {name: in_own_process(_grown, drawn, str(file), name) for name in (OURS, THEIRS)}


def _grown(drawn: DrawnSet, file: str, name: str) -> int:
    truth = drawn.truth()
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: score_detections(truth, json.loads(Path(file).read_bytes())),
        THEIRS: partial(_stock, truth, file),
    }
    before = reset_peak_resident_bytes()
    ways[name]()
    return peak_resident_bytes() - before


@contextmanager
def _clock(taken: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds that a block takes."""
    start = time.perf_counter()
    yield
    taken[name] += time.perf_counter() - start
