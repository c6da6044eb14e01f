import cv2
import numpy as np
import pytest
from tiny import IMAGES, tiny_set

from swin_yolo.benchmark import training as benchmarked
from swin_yolo.benchmark.epoch_clock import Epoch, EpochClock
from swin_yolo.benchmark.training import OURS, THEIRS, Run, TrainingSettings, training
from swin_yolo.benchmark.yolo_labels import write_yolo
from swin_yolo.engine.datasets import load_splits


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


def test_images_a_second_and_shares_are_those_of_the_epochs(data, monkeypatch):
    epochs = {THEIRS: [Epoch(8, 1, 0.5, 10), Epoch(8, 1, 0.5, 10)], OURS: [Epoch(4, 1, 0.3, 5), Epoch(2, 1, 0.3, 5)]}
    asked = []

    def run(function, way, save_dir, settings):
        name = OURS if way.func is benchmarked._ours else THEIRS
        seed = way.args[1]
        asked.append((name, seed))
        return Run(epochs[name], {OURS: 0.4, THEIRS: 0.3}[name] + seed / 10)

    monkeypatch.setattr(benchmarked, "in_own_process", run)
    table = training(TrainingSettings("yolov5n.yaml", str(data), rounds=2))
    assert asked == [(THEIRS, 0), (OURS, 0), (THEIRS, 1), (OURS, 1)]
    assert table.rows == [
        (THEIRS, "1.50", "1", "10.0", "1", "10.0%", "5.0%", "0.350 ± 0.071"),
        (OURS, "4.00", "2.67 (2.67 to 2.67)", "5.00", "2.00 (2.00 to 2.00)", "20.0%", "6.0%", "0.450 ± 0.071"),
    ]
    assert table.figures[OURS]["training_seconds"] == (3, 3) and table.figures[OURS]["ap"] == [0.4, 0.5]
    assert table.columns[-1] == "AP on test"


@pytest.mark.parametrize(("epochs", "said"), [(19, True), (20, False)])
def test_only_of_a_short_run_it_is_said_that_it_is_short(epochs, said):
    (*_, remark) = benchmarked._remarks(TrainingSettings(epochs=epochs), 10)
    assert ("So short a run" in remark) == said


def test_both_train_and_score_what_they_trained(data):
    table = training(TrainingSettings("yolov5n.yaml", str(data), imgsz=64, epochs=2, batch_size=4, rounds=1))
    assert [row[0] for row in table.rows] == [THEIRS, OURS]
    for found in table.figures.values():
        (trained,), (whole,), (ap,) = found["training_seconds"], found["epoch_seconds"], found["ap"]
        assert 0 < trained < whole and 0 < found["shares"]["overhead"] < found["shares"]["validation"] < 1
        assert 0 <= ap <= 1
    assert f"{IMAGES['train']} training images" in table.remarks[0]


# The clock


def test_an_epoch_is_taken_apart():
    clock = EpochClock()
    clock._heard = [
        ("on_train_epoch_start", 100.0, 0.0),
        ("on_train_epoch_end", 108.0, 0.0),
        ("on_val_start", 108.5, 0.0),
        ("on_val_end", 110.5, 1.5),
        ("on_fit_epoch_end", 111.0, 0.0),
        ("on_train_epoch_start", 120.0, 0.0),
        ("on_train_epoch_end", 121.0, 0.0),
        ("on_val_start", 121.0, 0.0),
        ("on_val_end", 122.0, 1.0),
        ("on_fit_epoch_end", 123.0, 0.0),
        ("on_val_start", 130.0, 0.0),  # of best.pt, after the last epoch
        ("on_val_end", 135.0, 5.0),
        ("on_fit_epoch_end", 136.0, 0.0),
    ]
    assert clock.epochs() == [Epoch(8.0, 2.0, 0.5, 11.0), Epoch(1.0, 1.0, 0.0, 3.0)]


# Labels


def test_a_coco_set_is_written_as_ultralytics_reads_it(data, tmp_path):
    splits = load_splits(data)
    file = write_yolo({"train": splits["train"], "val": splits["val"]}, tmp_path / "yolo")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    described = check_det_dataset(str(file))
    assert described["names"] == {0: "block", 1: "bar"}
    for split in ("train", "val"):
        index, dataset = splits[split], YOLODataset(described[split], data=described, task="detect")
        assert len(dataset.labels) == len(index) == IMAGES[split]
        for i, label in enumerate(sorted(dataset.labels, key=lambda label: label["im_file"])):
            class_indices, boxes_cxcywhn = index.labels(i)
            assert label["cls"].ravel().tolist() == class_indices.tolist()
            assert np.allclose(label["bboxes"], boxes_cxcywhn, rtol=0, atol=1e-6)
            assert np.array_equal(cv2.imread(label["im_file"]), cv2.imread(str(index.image_file(i))))
