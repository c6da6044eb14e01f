"""What a detection run finds, as files: JSON and CSV written as it goes, YOLO label files, crops."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_yolo.engine.detections import to_detections
from swin_yolo.engine.detector import Detections
from swin_yolo.files import written_whole
from swin_yolo.report.drawing import write_image
from swin_yolo.scoring.average_precision import Detection
from swin_yolo.video.frames import Frame

BOX_COLUMNS = ("left", "top", "width", "height")
ENTRY_COLUMNS = ("image_id", "file_name", "frame", "timestamp", "category_id", "category_name", "score")
CSV_COLUMNS = (*ENTRY_COLUMNS, *BOX_COLUMNS, "track_id")


def frame_entries(frame: Frame, detections: Detections, *, image_id: int, names: Mapping[int, str]) -> list[Detection]:
    """A frame's detections as COCO results entries, with where they are from.

    category_id is the model's class index, timestamp in seconds from the start of the video or stream.
    """
    entries = to_detections(
        torch.from_numpy(detections.boxes_xyxy),
        torch.from_numpy(detections.scores),
        torch.from_numpy(detections.class_indices),
        image_id=image_id,
        category_id_of={index: index for index in names},
    )
    for number, entry in enumerate(entries):
        entry["category_name"] = names[entry["category_id"]]
        entry["file_name"] = frame.clip.source.shown
        entry["frame"] = frame.index
        entry["timestamp"] = round(frame.seconds, 3)
        if detections.track_ids is not None:
            entry["track_id"] = int(detections.track_ids[number])
    return entries


@contextmanager
def json_list(file: Path) -> Iterator[Callable[[list[Any]], None]]:
    """Write a JSON list bit by bit, in constant memory; the file is there whole at the end, or not at all.

    Yields:
        A function that appends entries.

    Raises:
        OSError: if it could not be written.
    """
    with written_whole(file) as unfinished, unfinished.open("w", encoding="utf-8") as stream:
        stream.write("[")
        state = {"first": True, "whole": True}

        def append(entries: list[Any]) -> None:
            state["whole"] = False  # until all of them are written
            for entry in entries:
                text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
                stream.write(f"{'' if state['first'] else ','}\n{text}")
                state["first"] = False
            state["whole"] = True

        yield append
        if not state["whole"]:
            raise OSError(f"{file}: not written, since an entry of it could not be")
        stream.write("\n]\n")


@contextmanager
def csv_table(file: Path) -> Iterator[Callable[[list[Detection]], None]]:
    """Write entries of `frame_entries` as a table, as `json_list` does."""
    with written_whole(file) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, CSV_COLUMNS, extrasaction="ignore", restval="")
        table.writeheader()

        def append(entries: list[Detection]) -> None:
            for entry in entries:
                table.writerow({**entry, **dict(zip(BOX_COLUMNS, entry["bbox"], strict=True))})

        yield append


def write_labels(folder: Path, frame: Frame, detections: Detections) -> None:
    """Write a frame's boxes as YOLO labels: class index, centre, width and height as fractions, track id if any.

    No file is written for a frame without boxes.
    """
    if not len(detections):
        return
    height, width = frame.image_bgr.shape[:2]
    left, top, right, bottom = (detections.boxes_xyxy / [width, height, width, height]).T
    rows = np.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), 1)
    lines = []
    for number, (class_index, row) in enumerate(zip(detections.class_indices, rows, strict=True)):
        track = "" if detections.track_ids is None else f" {detections.track_ids[number]}"
        lines.append(f"{class_index} {' '.join(f'{value:.6f}' for value in row)}{track}\n")
    folder.mkdir(exist_ok=True)
    (folder / f"{frame_stem(frame)}.txt").write_text("".join(lines), encoding="utf-8")


def write_crops(folder: Path, frame: Frame, detections: Detections, *, names: Mapping[int, str]) -> None:
    """Cut each box out of a frame, into a folder per class."""
    height, width = frame.image_bgr.shape[:2]
    for number, (box, class_index) in enumerate(zip(detections.boxes_xyxy, detections.class_indices, strict=True)):
        left, top = np.floor(box[:2]).astype(int).clip(0)
        right, bottom = np.minimum(np.ceil(box[2:]).astype(int), (width, height))
        if right <= left or bottom <= top:
            continue
        of_class = folder / (re.sub(r"[^\w .-]+", "_", names[int(class_index)]).strip(". ") or str(class_index))
        of_class.mkdir(parents=True, exist_ok=True)
        write_image(frame.image_bgr[top:bottom, left:right], of_class / f"{frame_stem(frame)}-{number}.jpg")


def frame_stem(frame: Frame) -> str:
    """What a file for a single frame is called: the source's stem, and the frame's number in a video."""
    clip = frame.clip
    return clip.source.stem if clip.fps is None else f"{clip.source.stem}_{frame.index}"
