"""Sections of the benchmark, one after the other, into benchmark.json and benchmark.md."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from swin_yolo.benchmark.long_video import drawn_video, long_video
from swin_yolo.benchmark.report import Table
from swin_yolo.benchmark.video import VideoSettings, video
from swin_yolo.engine.evaluate import versions
from swin_yolo.engine.model import build_model
from swin_yolo.files import write_json, written_whole
from swin_yolo.machine import machine


@dataclass(frozen=True)
class Settings:
    """What the sections are to measure; each reads what it needs.

    Attributes:
        weights: checkpoints to detect with; without one, a fresh yolov5s, which finds nothing.
        source: video to detect in; None draws one.
        imgsz: longer side that images are scaled to, in pixels.
        device: as ultralytics names devices.
        rounds: how often each piece of work is timed.
        frames: length of the long video.
    """

    weights: tuple[Path, ...] = ()
    source: Path | None = None
    imgsz: int = 640
    device: str = "cpu"
    rounds: int = 3
    frames: int = 20_000


def _video(settings: Settings) -> Iterator[Table]:
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        source = settings.source or drawn_video(Path(folder) / "drawn.avi", 100, (768, 576))
        for weights in settings.weights or (_fresh(Path(folder) / "yolov5s.pt"),):
            yield video(VideoSettings(weights, source, settings.imgsz, settings.device, settings.rounds))


def _fresh(file: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"model": build_model(f"{file.stem}.yaml")}, file)
    return file


def _long_video(settings: Settings) -> Iterator[Table]:
    yield long_video(settings.frames, device=settings.device)


SECTIONS: dict[str, Callable[[Settings], Iterator[Table]]] = {"video": _video, "long-video": _long_video}


def benchmark(sections: Sequence[str], settings: Settings, *, save_dir: Path, command: str) -> Iterator[Table]:
    """Measure, and write benchmark.json and benchmark.md anew after every table.

    Args:
        sections: keys of `SECTIONS`.
        settings: what to measure.
        save_dir: folder to write to; made if missing.
        command: what was typed, for the report.

    Yields:
        Each table.
    """
    save_dir.mkdir(parents=True, exist_ok=True)
    head = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": versions(),
    }
    tables: list[Table] = []
    for section in sections:
        for table in SECTIONS[section](settings):
            tables.append(table)
            write_json(save_dir / "benchmark.json", {**head, "tables": [t.as_json() for t in tables]}, indent=2)
            with written_whole(save_dir / "benchmark.md") as unfinished:
                unfinished.write_text(as_markdown(head, tables), encoding="utf-8")
            yield table


def as_markdown(head: dict, tables: Sequence[Table]) -> str:
    """The whole report as a page."""
    here = head["machine"]
    gpu = f", {here['gpu']}" if here["gpu"] else ""
    where = f"{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB{gpu}"
    used = ", ".join(f"{name} {number}" for name, number in head["versions"].items())
    lines = ["```bash", head["command"], "```", "", f"{where}; {used}.", ""]
    return "\n".join([*lines, "\n\n".join(table.as_markdown() for table in tables), ""])
