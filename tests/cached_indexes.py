"""Annotation files that are kept in a cache of a test's own, however small, and how they are compared."""

from pathlib import Path

import numpy as np
import pytest
from coco_files import CONTENT, save

import swin_yolo.data.index_cache as cache_module
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.coco_arrays import split_arrays
from swin_yolo.data.index_cache import cache_dir

ARRAYS = ("image_ids", "sizes_wh", "box_offsets", "boxes_xywh", "class_indices", "iscrowd", "areas", "annotation_ids")


def keep_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep files of any size, under `tmp_path`, and warn as a fresh process does."""
    monkeypatch.setenv("SWIN_YOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "CACHED_FROM", 0)
    monkeypatch.setattr(cache_module, "_unwritable", set())


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of which a JSON was decoded, from now on."""
    calls = []

    def counted(file: Path):
        calls.append(file)
        return split_arrays(file)

    monkeypatch.setattr(cache_module, "split_arrays", counted)
    return calls


def index_of(folder: Path, what: dict = CONTENT, name: str = "set.json") -> CocoIndex:
    """The index of a file with this content in `folder`/data."""
    return CocoIndex.from_json(save(folder / "data", what, name=name), folder / "data")


def entries() -> list[Path]:
    return sorted(cache_dir().iterdir())


def assert_same(a: CocoIndex, b: CocoIndex) -> None:
    for name in ARRAYS:
        assert getattr(a, name).dtype == getattr(b, name).dtype
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("category_ids", "names", "dropped", "clipped", "annotations_file", "images_dir"):
        assert getattr(a, name) == getattr(b, name)
    assert list(a.file_names) == list(b.file_names)
