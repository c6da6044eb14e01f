import numpy as np
import torch
from coco_sets import coco, found
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.metrics import ConfusionMatrix

from swin_yolo.scoring.confusion import confusion_matrix

light = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def test_the_matrix_counts_hits_mix_ups_misses_and_false_alarms():
    truth = coco([(1, 3, (0, 0, 50, 50)), (1, 3, (100, 0, 50, 50)), (1, 8, (200, 0, 50, 50))], categories=(8, 3))
    detections = [
        found(1, 3, (0, 0, 50, 50), 0.9),  # right
        found(1, 3, (2, 0, 50, 50), 0.95),  # the same object again, a worse fit
        found(1, 8, (100, 0, 50, 50), 0.9),  # wrong class
        found(1, 8, (200, 0, 50, 50), 0.25),  # not above the threshold
    ]
    assert confusion_matrix(truth, detections).tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_matrix_leaves_crowds_out():
    truth = coco([(1, 1, (0, 0, 200, 200), True)], categories=(1, 2))
    inside = found(1, 1, (10, 10, 20, 20), 0.9)
    assert confusion_matrix(truth, [inside]).sum() == 0
    assert confusion_matrix(truth, [{**inside, "category_id": 2}])[1, 2] == 1
    assert confusion_matrix(truth, [{**inside, "bbox": [195, 195, 20, 20]}])[0, 2] == 1


@given(seeds)
@light
def test_the_matrix_equals_ultralytics_where_boxes_do_not_compete(seed):
    rng = np.random.default_rng(seed)
    rows, detections = [], []
    for cell in range(12):
        box = [100.0 * cell, 0.0, 80.0, 80.0]
        if rng.random() < 0.7:
            rows.append((1, int(rng.integers(1, 4)), box))
        if rng.random() < 0.7:
            shifted = [box[0] + float(rng.uniform(0, 60)), *box[1:]]
            detections.append(found(1, int(rng.integers(1, 4)), shifted, float(rng.random())))
    oracle = ConfusionMatrix({i: str(i) for i in range(3)})

    def boxes(entries):
        xywh = torch.tensor(entries).reshape(-1, 4)
        return torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)

    oracle.process_batch(
        {
            "bboxes": boxes([d["bbox"] for d in detections]),
            "conf": torch.tensor([d["score"] for d in detections]),
            "cls": torch.tensor([d["category_id"] - 1 for d in detections]),
        },
        {"bboxes": boxes([row[2] for row in rows]), "cls": torch.tensor([row[1] - 1 for row in rows])},
    )
    counted = confusion_matrix(coco(rows, categories=(1, 2, 3)), detections)
    assert counted.tolist() == oracle.matrix.tolist()
    assert counted[:, :3].sum() == len(rows)
