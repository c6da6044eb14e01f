import json
import time

import cv2
import pytest
import torch

import swin_yolo.benchmark.loader as loader_module
from swin_yolo.benchmark.loader import OURS, THEIRS, LoaderSettings, drawn_set, load_all, loader, stage_seconds


def test_both_see_the_same_files_and_boxes(tmp_path):
    split = drawn_set(tmp_path / "set", 6, (96, 64))
    assert split.sizes_wh.tolist() == [[96, 64]] * 6
    assert cv2.imread(str(split.image_file(5))).shape == (64, 96, 3)
    datasets = loader_module._datasets(split, LoaderSettings(imgsz=64), training=False)
    for i in range(6):
        ours, theirs = datasets[OURS][i], datasets[THEIRS][i]
        assert torch.equal(ours["img"], theirs["img"])
        assert torch.equal(ours["cls"], theirs["cls"])
        torch.testing.assert_close(ours["bboxes"], theirs["bboxes"], rtol=0, atol=2e-6)
    assert sum(len(json.loads(split.annotations_file.read_text())[key]) for key in ("images", "annotations")) > 12


def test_every_image_is_loaded_once_in_the_same_order_each_time():
    class Noting:
        def __init__(self):
            self.seen = []

        def __len__(self):
            return 20

        def __getitem__(self, i):
            self.seen.append(i)

    dataset = Noting()
    load_all(dataset)
    load_all(dataset)
    assert dataset.seen[:20] == dataset.seen[20:] != list(range(20))
    assert sorted(dataset.seen[:20]) == list(range(20))


def test_time_in_a_stage_is_without_that_of_the_stages_that_it_calls(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])

    def takes(seconds, *inner):
        def run():
            now[0] += seconds
            for one in inner:
                one()
            now[0] += seconds

        return run

    watch = loader_module._Watch()
    deepest = watch.timed("deepest", takes(1))
    middle = watch.timed("middle", takes(10, deepest, deepest))
    watch.timed("outer", takes(100, middle, deepest))()
    assert watch.seconds == {"deepest": 6, "middle": 20, "outer": 200}


@pytest.mark.parametrize(
    ("training", "stages"),
    [
        (True, {"decoding", "scaling", "mosaic", "affine", "colours", "flip", "letterbox", "to tensor", "the rest"}),
        (False, {"decoding", "scaling", "letterbox", "to tensor", "the rest"}),
    ],
)
def test_stages_are_those_of_the_mode_and_ultralytics_is_left_as_it_was(tmp_path, training, stages):
    before = [getattr(owner, attribute) for _, owner, attribute in loader_module._STAGES]
    datasets = loader_module._datasets(
        drawn_set(tmp_path / "set", 4, None), LoaderSettings(imgsz=64), training=training
    )
    seconds = stage_seconds(datasets[OURS])
    assert seconds.keys() - {"letterbox"} == stages - {"letterbox"}
    assert all(value >= 0 for value in seconds.values())
    assert [getattr(owner, attribute) for _, owner, attribute in loader_module._STAGES] == before


def test_a_table_for_each_size_and_mode_and_one_that_names_the_bottleneck():
    *speeds, stages = loader(LoaderSettings(images=3, imgsz=32, rounds=1))
    assert [table.title.split(" (")[0] for table in speeds] == ["Loading for training", "Loading for validation"] * 2
    for table in speeds:
        assert [row[0] for row in table.rows] == [THEIRS, OURS]
        assert "3 JPEG files" in table.title and "to 32 px" in table.title
    assert len(stages.rows) == 4
    for row, seconds in zip(stages.rows, stages.figures.values(), strict=True):
        slowest = max(seconds, key=seconds.get)
        assert f"{row[0]}: {slowest}, " in stages.remarks[0]
