"""The files of a detection run, written frame by frame and finished whatever happens."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_yolo.engine.annotated import AnnotatedFiles
from swin_yolo.engine.detection_files import csv_table, frame_entries, json_list, write_crops, write_labels
from swin_yolo.engine.detector import Detections
from swin_yolo.errors import InputError
from swin_yolo.scoring.average_precision import Detection
from swin_yolo.video.frames import Frame, Remarks
from swin_yolo.video.writers import Codec, check_room


@dataclass(frozen=True)
class Wanted:
    """What is to be written beside detections.json: annotated frames, YOLO labels, a table, crops."""

    save: bool = True
    save_txt: bool = False
    save_csv: bool = False
    save_crop: bool = False


class RunOutputs:
    """Writes what was found in each frame; see `open_outputs`.

    Attributes:
        frames: written so far.
        boxes: written so far, by class name.
    """

    def __init__(
        self,
        save_dir: Path,
        names: Mapping[int, str],
        wanted: Wanted,
        *,
        annotated: AnnotatedFiles,
        tables: Sequence[Callable[[list[Detection]], None]],
    ):
        self.frames = 0
        self.boxes: Counter[str] = Counter()
        self._save_dir, self._names, self._wanted = save_dir, names, wanted
        self._annotated, self._tables = annotated, tables

    def write(self, frame: Frame, detections: Detections, drawn_bgr: np.ndarray | None) -> None:
        """Write a frame's detections; `drawn_bgr` is needed where annotated frames are wanted.

        Raises:
            OSError: if something of it cannot be written; nothing more may be written then.
        """
        check_room(self._save_dir)
        entries = frame_entries(frame, detections, image_id=self.frames, names=self._names)
        for append in self._tables:
            append(entries)
        if self._wanted.save and drawn_bgr is not None:
            self._annotated.write(frame, drawn_bgr)
        if self._wanted.save_txt:
            write_labels(self._save_dir / "labels", frame, detections)
        if self._wanted.save_crop:
            write_crops(self._save_dir / "crops", frame, detections, names=self._names)
        self.frames += 1
        self.boxes.update(entry["category_name"] for entry in entries)


@contextmanager
def open_outputs(
    save_dir: Path, names: Mapping[int, str], wanted: Wanted, *, codecs: Sequence[Codec], remarks: Remarks
) -> Iterator[RunOutputs]:
    """Make the folder, and finish all files at the end.

    A file that cannot be finished is a fault among the remarks; the others are finished all the same. On an exception
    of the caller's, detections.json is not written.

    Raises:
        InputError: if the folder cannot be made.
    """
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"--project: the folder {save_dir} cannot be made: {e.strerror}") from e
    with ExitStack() as stack:
        tables = []
        for file, table in (("detections.json", json_list), ("detections.csv", csv_table)):
            if table is json_list or wanted.save_csv:
                stack.enter_context(_as_fault(remarks, save_dir / file))
                tables.append(stack.enter_context(table(save_dir / file)))
        annotated = AnnotatedFiles(save_dir, codecs=codecs, remarks=remarks)
        stack.enter_context(_as_fault(remarks, save_dir))
        stack.callback(annotated.close)
        yield RunOutputs(save_dir, names, wanted, annotated=annotated, tables=tables)


@contextmanager
def _as_fault(remarks: Remarks, file: Path) -> Iterator[None]:
    """Turn an OSError into a fault."""
    try:
        yield
    except OSError as e:
        remarks.fault(str(file), e.strerror or str(e))
