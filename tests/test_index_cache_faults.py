"""Entries, files and folders of the index cache that are broken, go away or are in the way."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from cached_indexes import assert_same, count_reads, entries, index_of, keep_small_files
from coco_files import content

import swin_yolo.data.coco as coco_module
import swin_yolo.data.index_cache as cache_module
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.coco_arrays import split_arrays
from swin_yolo.data.index_cache import cache_dir
from swin_yolo.errors import InputError


@pytest.fixture(autouse=True)
def small_files_too(tmp_path, monkeypatch):
    keep_small_files(tmp_path, monkeypatch)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(coco_module.LOGGER, "warning", said.append)
    return said


@pytest.fixture
def reads(monkeypatch):
    """The files of which a JSON was decoded."""
    return count_reads(monkeypatch)


# Files and entries that go away


def test_an_entry_that_is_gone_when_a_pickle_is_opened_is_made_again(tmp_path, reads):
    index = index_of(tmp_path)
    pickled = pickle.dumps(index)
    shutil.rmtree(cache_dir())
    again = pickle.loads(pickled)
    assert_same(again, index)
    assert len(reads) == 2
    assert again.entry == index.entry and entries() == [index.entry]


def test_a_pickle_of_an_entry_that_is_gone_is_opened_where_none_can_be_written(tmp_path, monkeypatch):
    index = index_of(tmp_path)
    pickled = pickle.dumps(index)
    shutil.rmtree(cache_dir())
    monkeypatch.setattr(cache_module, "store_entry", lambda *_: None)
    again = pickle.loads(pickled)
    assert_same(again, index)
    assert again.entry is None


def write_other(file):
    file.write_text(json.dumps(content()) + " ")


@pytest.mark.parametrize("change", [write_other, Path.unlink], ids=["changed", "removed"])
def test_an_entry_and_a_file_that_are_both_gone_are_named(tmp_path, change):
    index = index_of(tmp_path)
    pickled = pickle.dumps(index)
    shutil.rmtree(cache_dir())
    change(index.annotations_file)
    with pytest.raises(InputError, match=r"set\.json: was changed or removed while it was in use, and .* is gone"):
        pickle.loads(pickled)


def test_a_file_that_goes_away_while_it_is_read_is_named(tmp_path, monkeypatch):
    def removed(file):
        split = split_arrays(file)
        file.unlink()
        return split

    monkeypatch.setattr(cache_module, "split_arrays", removed)
    with pytest.raises(InputError, match=r"set\.json: went away while it was read: No such file"):
        index_of(tmp_path)
    assert not cache_dir().exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells the file of a descriptor")
def test_files_are_on_the_disk_before_an_entry_gets_its_name(tmp_path, monkeypatch):
    happened, rename = [], os.rename

    def fsync(descriptor):
        happened.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)

    def renamed(source, target):
        happened.append("renamed")
        rename(source, target)

    monkeypatch.setattr(cache_module.os, "fsync", fsync)
    monkeypatch.setattr(cache_module.os, "rename", renamed)
    index = index_of(tmp_path)
    assert sorted(happened[:-2]) == sorted(file.name for file in index.entry.iterdir())
    assert happened[-2:] == ["new", "renamed"]


# Entries and folders that cannot be used


def cut_off(entry):
    file = entry / "boxes_xywh.npy"
    file.write_bytes(file.read_bytes()[:-8])


def empty(entry):
    (entry / "areas.npy").write_bytes(b"")


def missing(entry):
    (entry / "iscrowd.npy").unlink()


def other_type(entry):
    np.save(entry / "class_indices.npy", np.zeros(4, np.int64))


def other_length(entry):
    np.save(entry / "annotation_ids.npy", np.zeros(3, np.int64))


def zeroed(entry):
    np.save(entry / "box_offsets.npy", np.zeros(4, np.int64))


def falling(entry):
    np.save(entry / "box_offsets.npy", np.array([0, 4, 2, 4]))


def name_beyond_the_text(entry):
    offsets = np.load(entry / "file_name_offsets.npy")
    offsets[1] = 1000
    np.save(entry / "file_name_offsets.npy", offsets)


def no_such_class(entry):
    np.save(entry / "class_indices.npy", np.array([0, 1, 0, 9], np.int32))


def negative_class(entry):
    np.save(entry / "class_indices.npy", np.array([0, -1, 0, 1], np.int32))


def no_json(entry):
    (entry / "split.json").write_text("{")


def other_json(entry):
    (entry / "split.json").write_text("[]")


DAMAGE = [
    cut_off,
    empty,
    missing,
    other_type,
    other_length,
    zeroed,
    falling,
    name_beyond_the_text,
    no_such_class,
    negative_class,
    no_json,
    other_json,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_broken_entry_is_made_again(tmp_path, reads, damage):
    index = index_of(tmp_path)
    damage(index.entry)
    assert_same(index_of(tmp_path), index_of(tmp_path))
    assert len(reads) == 2
    assert entries() == [index.entry]


@pytest.mark.parametrize("in_the_way", ["cache", "cache/indexes"])
def test_a_folder_that_cannot_be_written_to_is_said_once_and_does_no_harm(tmp_path, warnings, in_the_way):
    place = tmp_path / in_the_way
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file")
    for _ in range(2):
        index = index_of(tmp_path)
        assert index.entry is None
        assert index.annotation_ids.tolist() == [18, 19, 17, 21]
    (said,) = warnings
    assert "cannot be written to" in said
    assert str(cache_dir()) in said
    assert "set SWIN_YOLO_CACHE" in said


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, warnings):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.np, "save", full)
    assert index_of(tmp_path).entry is None
    assert entries() == []
    assert "No space left" in warnings[0]


def test_a_missing_file_is_named_as_without_a_cache(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read as a COCO JSON file: No such file"):
        CocoIndex.from_json(tmp_path / "none.json", tmp_path)


def test_a_file_among_the_entries_is_left_alone(tmp_path, warnings):
    cache_dir().mkdir(parents=True)
    (cache_dir() / "notes.txt").write_text("a file")
    (cache_dir() / ".DS_Store").write_text("another")
    index = index_of(tmp_path)
    assert entries() == sorted([index.entry, cache_dir() / "notes.txt", cache_dir() / ".DS_Store"])
    assert not warnings
