"""Loader processes only read the labels, so the memory that is their own must not grow while they do."""

from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics.data.base as base_module
from torch.utils.data import DataLoader
from ultralytics.cfg import get_cfg

import swin_yolo.data.index_cache as cache_module
from swin_yolo.benchmark.synthetic_coco import Scale, write_coco
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.dataset import CocoDataset

SCALE = Scale(16_000, 160_000, polygons=False)
WORKERS, BATCH = 4, 64
MIB = 2**20
# Python lists of labels and paths make it 5 MiB and more of this set.
GROWTH = 2.5 * MIB

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells own memory")


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A set of many boxes whose images are one small picture in memory."""
    monkeypatch.setenv("SWIN_YOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "CACHED_FROM", 0)
    monkeypatch.setattr(CocoIndex, "check_files", lambda self: None)
    monkeypatch.setattr("swin_yolo.data.dataset.check_size", lambda *args, **kwargs: None)
    monkeypatch.setattr(base_module, "imread", lambda file, flags: np.zeros((12, 16, 3), np.uint8))
    index = CocoIndex.from_json(write_coco(tmp_path / "set.json", SCALE), tmp_path)
    return CocoDataset(index, imgsz=16, hyp=get_cfg(overrides={"deterministic": False}))


def own_bytes(pid):
    """Memory of a process that is neither a file's nor shared with another process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty:"))


def growth_over_an_epoch(dataset):
    """Bytes by which each worker grows after it has worked for a while; every image is loaded once."""
    torch.manual_seed(0)
    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        collate_fn=dataset.collate_fn,
        multiprocessing_context="fork",
    )
    batches = iter(loader)
    for number, _ in enumerate(batches, start=1):
        if number == len(loader) // 8:
            before = [own_bytes(worker.pid) for worker in batches._workers]
        if number == len(loader) - 3 * WORKERS:  # before they end
            after = [own_bytes(worker.pid) for worker in batches._workers]
    return [b - a for a, b in zip(before, after, strict=True)]


def test_the_memory_of_four_workers_does_not_grow_over_an_epoch(dataset):
    grown = growth_over_an_epoch(dataset)
    assert len(grown) == WORKERS
    assert max(grown) < GROWTH


def test_lists_of_labels_would_be_seen_to_grow(dataset):
    dataset.labels, dataset.im_files = list(dataset.labels), list(dataset.im_files)
    grown = growth_over_an_epoch(dataset)
    assert min(grown) > 1.5 * GROWTH
