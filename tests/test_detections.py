from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_set
from ultralytics.cfg import get_cfg
from ultralytics.utils.ops import xywh2xyxy

from swin_yolo.engine.datasets import build_dataset, evaluation_loader, load_splits
from swin_yolo.engine.detections import batch_detections, suppressed, to_detections
from swin_yolo.engine.validator import CocoValidator
from swin_yolo.scoring.average_precision import score_detections

CATEGORY_ID_OF = {0: 3, 1: 7}


def test_boxes_become_coco_results():
    entries = to_detections(
        torch.tensor([[10.0, 20.0, 40.0, 25.0], [0.12345, 0.0, 1.5, 2.0]], dtype=torch.float64),
        torch.tensor([0.9, 0.12345678], dtype=torch.float64),
        torch.tensor([1.0, 0.0]),
        image_id=42,
        category_id_of=CATEGORY_ID_OF,
    )
    assert entries == [
        {"image_id": 42, "category_id": 7, "bbox": [10.0, 20.0, 30.0, 5.0], "score": 0.9},
        {"image_id": 42, "category_id": 3, "bbox": [0.123, 0.0, 1.377, 2.0], "score": 0.123457},
    ]


def test_boxes_of_classes_that_the_dataset_has_not_are_left_out():
    boxes_xyxy = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).expand(3, 4)
    entries = to_detections(
        boxes_xyxy, torch.rand(3), torch.tensor([0.0, 5.0, 1.0]), image_id=1, category_id_of=CATEGORY_ID_OF
    )
    assert [entry["category_id"] for entry in entries] == [3, 7]


def test_no_boxes_are_no_entries():
    assert to_detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), image_id=1, category_id_of={0: 1}) == []


@pytest.mark.parametrize("imgsz", [64, 160])  # smaller and larger than the images
def test_boxes_of_the_network_s_input_come_back_to_the_original_pixels(tmp_path_factory, imgsz):
    index = load_splits(tiny_set(tmp_path_factory.getbasetemp()), ("val",))["val"]
    dataset = build_dataset(index, get_cfg(overrides={"imgsz": imgsz}), mode="val", batch_size=4, stride=32)
    entries = []
    for batch in evaluation_loader(dataset, batch_size=4, workers=0):
        size = torch.tensor(batch["img"].shape[2:])[[1, 0, 1, 0]]  # W H W H
        boxes = xywh2xyxy(batch["bboxes"]) * size  # labels are letterboxed as the images are
        rows = [batch["batch_idx"] == i for i in range(len(batch["im_file"]))]
        found = [{"bboxes": boxes[r], "conf": torch.ones(int(r.sum())), "cls": batch["cls"][r, 0]} for r in rows]
        before = [f["bboxes"].clone() for f in found]
        entries += batch_detections(found, batch, dataset, CATEGORY_ID_OF)
        assert all(torch.equal(a, f["bboxes"]) for a, f in zip(before, found, strict=True))

    truth = index.to_coco()
    assert len(entries) == sum(not a["iscrowd"] for a in truth.anns.values()) == 8
    for entry in entries:
        same = [a for a in truth.imgToAnns[entry["image_id"]] if a["category_id"] == entry["category_id"]]
        assert any(entry["bbox"] == pytest.approx(a["bbox"], abs=0.6) for a in same)
    assert score_detections(truth, entries).metrics["AP50"] == 1


def test_a_slow_machine_loses_no_boxes(monkeypatch):
    """ultralytics' NMS leaves images without boxes once its clock says that it took too long."""
    clock = iter(range(0, 10**9, 1000))
    monkeypatch.setattr("ultralytics.utils.nms.time.time", lambda: next(clock))
    boxes = torch.tensor([[20.0, 20.0, 10.0, 10.0, 0.9], [60.0, 60.0, 10.0, 10.0, 0.8]]).T  # 5 N: of one class
    found = suppressed(boxes.expand(3, 5, 2), conf_thres=0.1, iou_thres=0.5, max_det=300, end2end=False)
    assert [len(image["conf"]) for image in found] == [2, 2, 2]


def test_validation_in_training_takes_as_long_as_it_takes(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "swin_yolo.engine.detections.non_max_suppression", lambda *_, **given: asked.append(given) or []
    )
    validator = CocoValidator.__new__(CocoValidator)
    validator.args, validator.end2end = SimpleNamespace(conf=0.001, iou=0.7, max_det=300), False
    assert validator.postprocess(torch.zeros(1, 5, 2)) == []
    assert asked[0]["max_time_img"] == float("inf") and asked[0]["multi_label"]
