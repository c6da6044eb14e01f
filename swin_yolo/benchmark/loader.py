"""From image files to what a batch is made of: our dataset beside ultralytics' own, and where the time goes."""

import contextlib
import io
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data import augment, base
from ultralytics.data.dataset import YOLODataset

from swin_yolo.benchmark.report import Table, speed_table
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.dataset import CocoDataset
from swin_yolo.data.demo_scene import draw_scene
from swin_yolo.data.demo_shapes import SHAPES
from swin_yolo.timing import interleaved

THEIRS, OURS = "ultralytics", "ours"
MODES = {"training": "mosaic, affine, colours, flip", "validation": "letterbox"}
SIZES_WH: dict[str, tuple[int, int] | None] = {"as drawn": None, "640 x 480": (640, 480)}
# Name, and whose function it is.
_STAGES = (
    ("decoding", base, "imread"),
    ("scaling", base.BaseDataset, "load_image"),
    ("mosaic", augment.Mosaic, "__call__"),
    ("affine", augment.RandomPerspective, "__call__"),
    ("colours", augment.RandomHSV, "__call__"),
    ("flip", augment.RandomFlip, "__call__"),
    ("letterbox", augment.LetterBox, "__call__"),
    ("to tensor", augment.Format, "__call__"),
)


@dataclass(frozen=True)
class LoaderSettings:
    """What is loaded.

    Attributes:
        images: number of images.
        imgsz: longer side that they are scaled to, in pixels.
        rounds: how often each way is timed.
    """

    images: int = 128
    imgsz: int = 640
    rounds: int = 3


def loader(settings: LoaderSettings) -> Iterator[Table]:
    """A table of speeds for each size of image and each mode, then where ours spends its time."""
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as name:
        for size, size_wh in SIZES_WH.items():
            split = drawn_set(Path(name) / size.replace(" ", ""), settings.images, size_wh)
            for mode, what in MODES.items():
                datasets = _datasets(split, settings, training=mode == "training")
                title = f"Loading for {mode} ({what}), {settings.images} JPEG files, {size}, to {settings.imgsz} px"
                yield _speeds(title, datasets, settings)
                seconds[f"{mode}, {size}"] = stage_seconds(datasets[OURS])
    yield _stages(seconds, settings.images)


def drawn_set(folder: Path, images: int, size_wh: tuple[int, int] | None) -> CocoIndex:
    """A set of drawn pictures, with a COCO file for us and txt files for ultralytics.

    Args:
        folder: to write to; images/ and labels/ as ultralytics looks for them.
        images: how many.
        size_wh: width and height that they are scaled to, in pixels; None leaves them as drawn.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    what: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    what["categories"] = [{"id": shape.category_id, "name": shape.name} for shape in SHAPES]
    for i in range(images):
        scene = draw_scene(np.random.default_rng((0, i)), kind="things")
        drawn_wh = np.array(scene.image.shape[1::-1])
        width, height = size_wh or drawn_wh.tolist()
        name = f"{i:06d}.jpg"
        scaled = cv2.resize(scene.image, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "images" / name), scaled, (cv2.IMWRITE_JPEG_QUALITY, 92))
        what["images"].append({"id": i, "file_name": name, "width": width, "height": height})
        for thing in scene.things:
            box = np.array(thing.box_xywh) * np.tile((width, height) / drawn_wh, 2)
            what["annotations"].append(
                {
                    "id": len(what["annotations"]),
                    "image_id": i,
                    "category_id": thing.category_id,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                }
            )
    (folder / "set.json").write_text(json.dumps(what))
    split = CocoIndex.from_json(folder / "set.json", folder / "images")
    for i, name in enumerate(split.file_names):
        rows = (f"{c} {' '.join(map(repr, box.tolist()))}\n" for c, box in zip(*split.labels(i), strict=True))
        (folder / "labels" / name).with_suffix(".txt").write_text("".join(rows))
    return split


def _datasets(split: CocoIndex, settings: LoaderSettings, *, training: bool) -> dict[str, YOLODataset]:
    names = dict(enumerate(split.names))
    options: dict[str, Any] = {
        "imgsz": settings.imgsz,
        "augment": training,
        "rect": not training,
        "pad": 0.0 if training else 0.5,
    }
    options |= {"batch_size": 16, "stride": 32, "hyp": get_cfg(overrides={"mosaic": 1.0})}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = YOLODataset(str(split.images_dir), data={"names": names, "nc": len(names), "channels": 3}, **options)
    return {THEIRS: theirs, OURS: CocoDataset(split, **options)}


def _speeds(title: str, datasets: Mapping[str, YOLODataset], settings: LoaderSettings) -> Table:
    work = {name: partial(load_all, one) for name, one in datasets.items()}
    times = interleaved(work, rounds=settings.rounds, clock=time.process_time)
    remark = (
        "One process, from the files to the tensors of a batch; the same random numbers for both. In seconds of the "
        "processor, which other work on the machine changes less: files are in the system's page cache."
    )
    return speed_table(title, times, against=THEIRS, amount=settings.images, unit="images", remarks=(remark,))


def load_all(dataset: YOLODataset) -> None:
    """Load every image once, in an order and with augmentation that are the same every time."""
    random.seed(0)
    np.random.seed(0)
    for i in random.sample(range(len(dataset)), len(dataset)):
        dataset[i]


def stage_seconds(dataset: YOLODataset) -> dict[str, float]:
    """Seconds of each stage in `load_all`; "the rest" are labels and what lies between the stages."""
    watch = _Watch()
    load_all(dataset)
    with contextlib.ExitStack() as patches:
        for name, owner, attribute in _STAGES:
            timed = watch.timed(name, getattr(owner, attribute))
            patches.enter_context(patch.object(owner, attribute, timed))
        watch.timed("the rest", load_all)(dataset)
    return watch.seconds


class _Watch:
    """Seconds in functions by name, each without those in others that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0  # seconds in functions that the running one called

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            before, self._inside = self._inside, 0.0
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[name] += spent - self._inside
                self._inside = before + spent

        return run


def _stages(measured: Mapping[str, Mapping[str, float]], images: int) -> Table:
    """Milliseconds per image of each stage, and which takes most."""
    names = [*dict.fromkeys(name for name, *_ in _STAGES), "the rest"]
    rows, figures, most = [], {}, []
    for what, seconds in measured.items():
        total = sum(seconds.values())
        shares = {name: seconds.get(name, 0.0) / total for name in names}
        rows.append((what, *(f"{1000 * seconds.get(name, 0.0) / images:.2f}" for name in names)))
        figures[what] = {name: seconds.get(name, 0.0) for name in names}
        bottleneck = max(shares, key=lambda name: shares[name])
        most.append(f"{what}: {bottleneck}, {100 * shares[bottleneck]:.0f} %")
    remark = f"Of one pass of ours. The bottleneck is, {'; '.join(most)}."
    return Table("Milliseconds per image by stage", ("", *names), rows, figures, (remark,))
