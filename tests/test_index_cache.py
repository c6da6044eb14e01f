import json
import os
import pickle
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from cached_indexes import assert_same, count_reads, entries, index_of, keep_small_files
from coco_files import content, save

import swin_yolo.data.coco as coco_module
import swin_yolo.data.index_cache as cache_module
from swin_yolo.data.coco_arrays import split_arrays
from swin_yolo.data.index_cache import cache_dir, load_entry, read_split, store_entry
from swin_yolo.files import sha256


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


# What comes out


def test_the_second_time_is_the_same_without_reading_the_json(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(cache_module, "CACHED_FROM", 2**20)
    plain = index_of(tmp_path)
    monkeypatch.setattr(cache_module, "CACHED_FROM", 0)
    assert plain.entry is None
    assert_same(plain, index_of(tmp_path))
    assert len(reads) == 2
    assert_same(plain, index_of(tmp_path))
    assert len(reads) == 2


def test_a_small_file_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CACHED_FROM", 2**20)
    assert index_of(tmp_path).entry is None
    assert not cache_dir().exists()


def test_arrays_are_mapped_read_only(tmp_path):
    index = index_of(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        index.boxes_xywh[0] = 0
    mapped = Path("/proc/self/maps").read_text() if Path("/proc/self/maps").exists() else str(index.entry)
    assert str(index.entry) in mapped


def test_nothing_is_written_into_the_folder_of_the_set(tmp_path):
    index_of(tmp_path)
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["set.json"]


def test_what_was_dropped_and_clipped_is_said_every_time(tmp_path, warnings):
    what = content()
    what["annotations"][0]["bbox"] = [3, 6, 0, 5]
    what["annotations"][1]["bbox"] = [-10, 10, 30, 20]
    del what["annotations"][3]["area"]
    for _ in range(2):
        index_of(tmp_path, what)
    assert len(warnings) == 2
    assert warnings[0] == warnings[1]
    for words in ("1 boxes without", "1 boxes that reach out", "1 annotations without 'area'"):
        assert words in warnings[1]


def test_a_copy_elsewhere_finds_the_entry_and_keeps_its_own_paths(tmp_path, reads):
    index_of(tmp_path)
    copy = index_of(tmp_path / "elsewhere", name="other.json")
    assert len(reads) == 1
    assert copy.annotations_file == tmp_path / "elsewhere" / "data" / "other.json"
    assert copy.image_file(1) == tmp_path / "elsewhere" / "data" / "b.jpg"


def test_a_changed_file_is_read_anew(tmp_path):
    before = index_of(tmp_path)
    what = content()
    what["annotations"][0]["bbox"] = [4, 6, 12, 15]
    file = before.annotations_file
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    after = index_of(tmp_path, what)
    os.utime(file, ns=times)  # neither its time nor its length tells
    assert after.entry != before.entry
    assert after.boxes_xywh[2].tolist() == [4, 6, 12, 15]


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, monkeypatch):
    def slow(file):
        split = split_arrays(file)
        file.write_text(json.dumps(content()) + " ")
        return split

    monkeypatch.setattr(cache_module, "split_arrays", slow)
    assert index_of(tmp_path).entry is None
    assert not cache_dir().exists()


def test_the_environment_names_the_folder_and_else_it_is_the_user_s(tmp_path, monkeypatch):
    assert cache_dir() == tmp_path / "cache" / "indexes"
    monkeypatch.delenv("SWIN_YOLO_CACHE")
    monkeypatch.setattr(cache_module.platformdirs, "user_cache_dir", lambda name: f"/home/user/.cache/{name}")
    assert cache_dir() == Path("/home/user/.cache/swin_yolo/indexes")


# Processes


def test_a_pickle_names_the_entry_and_finds_it_again(tmp_path, reads):
    index = index_of(tmp_path)
    pickled = pickle.dumps(index)
    assert len(pickled) < 1000
    assert_same(pickle.loads(pickled), index)
    assert len(reads) == 1


def test_an_index_that_is_not_cached_is_pickled_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CACHED_FROM", 2**20)
    index = index_of(tmp_path)
    assert_same(pickle.loads(pickle.dumps(index)), index)


def write_again_and_again(file):
    place = cache_dir() / f"{sha256(file)}-v{cache_module.VERSION}"
    for _ in range(30):
        split, _ = read_split(file)
        assert split.boxes.annotation_ids.tolist() == [18, 19, 17, 21]
        (place / "areas.npy").unlink(missing_ok=True)  # broken for all
        store_entry(place, split_arrays(file))
    assert not cache_module._unwritable
    store_entry(place, split_arrays(file))


def test_processes_that_write_the_same_entry_at_once_do_each_other_no_harm(tmp_path):
    file = save(tmp_path / "data")
    processes = [get_context("fork").Process(target=write_again_and_again, args=(file,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    (entry,) = entries()
    assert load_entry(entry) is not None


def test_the_loser_of_two_writers_leaves_the_other_s_entry(tmp_path):
    index = index_of(tmp_path)
    inode = (index.entry / "boxes_xywh.npy").stat().st_ino
    store_entry(index.entry, split_arrays(index.annotations_file))
    assert (index.entry / "boxes_xywh.npy").stat().st_ino == inode
    assert entries() == [index.entry]


# How much is kept


def other(number):
    what = content()
    what["images"][0]["file_name"] = f"other{number}.jpg"
    return what


def test_entries_not_used_for_the_longest_time_go_first(tmp_path, monkeypatch):
    first, second = index_of(tmp_path), index_of(tmp_path, other(0))
    for age, index in enumerate((first, second), start=1):  # the first was used later
        os.utime(index.entry, (time.time() - 100 * age,) * 2)
    size = sum(file.stat().st_size for file in first.entry.iterdir())
    monkeypatch.setattr(cache_module, "KEPT", int(2.5 * size))
    third = index_of(tmp_path, other(1))
    assert entries() == sorted([first.entry, third.entry])


def test_use_counts_not_age(tmp_path, monkeypatch):
    first, second = index_of(tmp_path), index_of(tmp_path, other(0))
    for age, index in enumerate((second, first), start=1):
        os.utime(index.entry, (time.time() - 100 * age,) * 2)
    index_of(tmp_path)  # uses the first
    monkeypatch.setattr(cache_module, "KEPT", int(2.5 * sum(f.stat().st_size for f in first.entry.iterdir())))
    third = index_of(tmp_path, other(1))
    assert entries() == sorted([first.entry, third.entry])


def test_an_entry_larger_than_all_that_may_be_kept_is_kept_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "KEPT", 1)
    index_of(tmp_path)
    second = index_of(tmp_path, other(0))
    assert entries() == [second.entry]


def test_what_a_killed_writer_left_goes_after_a_day(tmp_path):
    cache_dir().mkdir(parents=True)
    old, new = cache_dir() / ".old", cache_dir() / ".new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    index = index_of(tmp_path)
    assert entries() == sorted([new, index.entry])
