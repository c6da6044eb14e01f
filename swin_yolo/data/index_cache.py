"""Large annotation files once read, as memory-mapped arrays in the user's cache folder.

An entry is a folder named after the contents of the JSON: a copy of it elsewhere finds the same entry, and a changed
one finds none. Processes that map an entry share its memory. Entries are written beside their place, to the disk, and
renamed, so that each is there whole or not at all, also after a power cut.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray
from ultralytics.utils import LOGGER

from swin_yolo.data.coco_arrays import BoxArrays, SplitArrays, split_arrays
from swin_yolo.data.file_names import FileNames
from swin_yolo.errors import InputError
from swin_yolo.files import sha256

VERSION = 1  # one more whenever what is kept of a file changes
CACHED_FROM = 8 * 2**20  # bytes of JSON; a smaller file is read in a tenth of a second
KEPT = 4 * 2**30  # bytes of all entries; beyond that, those go that were not used for the longest time
_SCALARS = "split.json"
_ABANDONED = 86_400  # seconds after which a folder that a writer left behind is removed

_unwritable: set[Path] = set()  # cache folders that a warning named


def cache_dir() -> Path:
    """Where entries are kept: in $SWIN_YOLO_CACHE if it is set, else in the user's cache folder."""
    return Path(os.environ.get("SWIN_YOLO_CACHE") or platformdirs.user_cache_dir("swin_yolo"), "indexes")


def read_split(file: Path) -> tuple[SplitArrays, Path | None]:
    """What an annotations file says, and the cache entry that its arrays are mapped from.

    None stands for no entry: the file is small, or the cache folder cannot be written to.

    Raises:
        InputError: as `split_arrays`.
    """
    try:
        before = file.stat()
        if before.st_size < CACHED_FROM:
            return split_arrays(file), None
        entry = cache_dir() / _name_of(file)
    except OSError:
        return split_arrays(file), None  # which says what is wrong with it
    split = load_entry(entry)
    if split is None:
        split = split_arrays(file)
        try:
            after = file.stat()
        except OSError as error:
            raise InputError(f"{file}: went away while it was read: {error.strerror}") from error
        if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
            return split, None  # not what was hashed
        store_entry(entry, split)
        mapped = load_entry(entry)
        return (split, None) if mapped is None else (mapped, entry)
    return split, entry


def read_again(entry: Path, file: Path) -> tuple[SplitArrays, Path | None]:
    """What `read_split` found in an annotations file before, from the entry or, where that is gone, from the file.

    Raises:
        InputError: if the entry is gone, and the file is as well or is not what it was.
    """
    split = load_entry(entry)
    if split is not None:
        return split, entry
    try:
        same = _name_of(file) == entry.name
    except OSError:
        same = False
    if not same:
        raise InputError(f"{file}: was changed or removed while it was in use, and {entry} is gone; start again")
    return read_split(file)


def load_entry(entry: Path) -> SplitArrays | None:
    """The arrays of an entry, mapped read-only; None where there is none or a broken one."""
    try:
        scalars = json.loads((entry / _SCALARS).read_text(encoding="utf-8"))
        n, m, k = scalars["images"], scalars["boxes"], scalars["text"]
        split = SplitArrays(
            image_ids=_mapped(entry / "image_ids.npy", np.int64, (n,)),
            file_names=FileNames(
                _mapped(entry / "file_names.npy", np.uint8, (k,)),
                _mapped(entry / "file_name_offsets.npy", np.int64, (n + 1,)),
            ),
            sizes_wh=_mapped(entry / "sizes_wh.npy", np.int32, (n, 2)),
            category_ids=tuple(scalars["category_ids"]),
            names=tuple(scalars["names"]),
            boxes=BoxArrays(
                offsets=_mapped(entry / "box_offsets.npy", np.int64, (n + 1,)),
                xywh=_mapped(entry / "boxes_xywh.npy", np.float64, (m, 4)),
                class_indices=_mapped(entry / "class_indices.npy", np.int32, (m,)),
                iscrowd=_mapped(entry / "iscrowd.npy", np.bool_, (m,)),
                areas=_mapped(entry / "areas.npy", np.float64, (m,)),
                annotation_ids=_mapped(entry / "annotation_ids.npy", np.int64, (m,)),
                dropped=scalars["dropped"],
                clipped=scalars["clipped"],
                without_area=scalars["without_area"],
            ),
        )
        whole = _in_order(split)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # when it was used last
    return split if whole else None


def store_entry(entry: Path, split: SplitArrays) -> None:
    """Write an entry, in the place of a broken one if need be; a warning where the folder cannot be written to."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".", dir=entry.parent))
        try:
            _write(work / "new", split)
            _move_in_place(work, entry)
            with contextlib.suppress(FileNotFoundError):  # another process is at it
                _drop_unused(entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if entry.parent not in _unwritable:
            _unwritable.add(entry.parent)
            LOGGER.warning(
                f"{entry.parent}: cannot be written to ({error.strerror or error}), so that large annotation files are "
                "read anew every time; set SWIN_YOLO_CACHE to a folder that can be"
            )


def _name_of(file: Path) -> str:
    return f"{sha256(file)}-v{VERSION}"


def _in_order(split: SplitArrays) -> bool:
    """Whether offsets rise from 0 to the end of what they lead into, and class indices are those of classes."""
    pairs = (split.boxes.offsets, len(split.boxes.xywh)), (split.file_names.offsets, len(split.file_names.text))
    rising = all(at[0] == 0 and at[-1] == end and (at[1:] >= at[:-1]).all() for at, end in pairs)
    classes = split.boxes.class_indices
    return rising and (not len(classes) or (classes.min() >= 0 and classes.max() < len(split.category_ids)))


def _mapped(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray:
    array = np.load(file, mmap_mode="r")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{file}: expected {dtype.__name__} of shape {shape}, got {array.dtype} of {array.shape}")
    return array.view(np.ndarray)  # a memmap is slower to take parts of


def _write(folder: Path, split: SplitArrays) -> None:
    folder.mkdir()
    boxes = split.boxes
    arrays: dict[str, NDArray] = {
        "image_ids": split.image_ids,
        "file_names": split.file_names.text,
        "file_name_offsets": split.file_names.offsets,
        "sizes_wh": split.sizes_wh,
        "box_offsets": boxes.offsets,
        "boxes_xywh": boxes.xywh,
        "class_indices": boxes.class_indices,
        "iscrowd": boxes.iscrowd,
        "areas": boxes.areas,
        "annotation_ids": boxes.annotation_ids,
    }
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array, allow_pickle=False)
            _to_disk(file)
    scalars = {
        "images": len(split.image_ids),
        "boxes": len(boxes.xywh),
        "text": len(split.file_names.text),
        "category_ids": split.category_ids,
        "names": split.names,
        "dropped": boxes.dropped,
        "clipped": boxes.clipped,
        "without_area": boxes.without_area,
    }
    with (folder / _SCALARS).open("wb") as file:
        file.write(json.dumps(scalars).encode())
        _to_disk(file)
    with contextlib.suppress(OSError):  # Windows opens no folders
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _to_disk(file: BinaryIO) -> None:
    """Let the disk have what was written: else a rename may reach it first, and blocks of zeros stay."""
    file.flush()
    os.fsync(file.fileno())


def _move_in_place(work: Path, entry: Path) -> None:
    """Put work/new where `entry` is to be; another process may be doing the same, and its entry is as good."""
    if not _renamed(work / "new", entry) and load_entry(entry) is None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry, work / "broken")
        _renamed(work / "new", entry)


def _renamed(source: Path, target: Path) -> bool:
    """Rename a folder; False where something is at `target`."""
    try:
        os.rename(source, target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def _drop_unused(entry: Path) -> None:
    """Remove what is too much or was abandoned; processes that have an entry mapped keep it."""
    total, now = 0, time.time()
    folders = (folder for folder in entry.parent.iterdir() if folder.is_dir())
    for folder in sorted(folders, key=_last_use, reverse=True):
        if folder.name.startswith("."):
            if now - _last_use(folder) > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        total += sum(file.stat().st_size for file in folder.iterdir())
        if total > KEPT and folder != entry:
            shutil.rmtree(folder, ignore_errors=True)


def _last_use(folder: Path) -> float:
    return folder.stat().st_mtime
