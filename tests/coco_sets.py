"""Ground truth and detections of a few boxes, as pycocotools has them."""

import numpy as np
from pycocotools.coco import COCO


def coco(annotations, *, images=(1,), categories=(1,)) -> COCO:
    """COCO ground truth of (image_id, category_id, bbox[, iscrowd]) rows, numbered from 1."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in images],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": [
            {
                "id": n,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": list(bbox),
                "area": bbox[2] * bbox[3],
                "iscrowd": int(any(crowd)),
            }
            for n, (image_id, category_id, bbox, *crowd) in enumerate(annotations, start=1)
        ],
    }
    truth.createIndex()
    return truth


def found(image_id, category_id, bbox, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score}


def random_set(seed: int, *, tied: bool = True, crowds: bool = True) -> tuple[COCO, list[dict]]:
    """A few images with jittered, missed and invented boxes, crowds, ids with gaps, and scores of one decimal."""
    rng = np.random.default_rng(seed)
    images = sorted(rng.choice(1000, 4, replace=False).tolist())
    categories = sorted(rng.choice(100, 3, replace=False).tolist())
    rows, detections = [], []
    for _ in range(rng.integers(1, 20)):
        image_id, category_id = int(rng.choice(images)), int(rng.choice(categories))
        box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(5, 200, 2)])
        rows.append((image_id, category_id, box.tolist(), crowds and rng.random() < 0.15))
        for _ in range(rng.integers(0, 3)):
            detections.append(
                found(image_id, category_id, (box + rng.uniform(-8, 8, 4)).clip(1).tolist(), rng.random())
            )
    for _ in range(rng.integers(0, 6)):
        box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(5, 200, 2)]).tolist()
        detections.append(found(int(rng.choice(images)), int(rng.choice(categories)), box, rng.random()))
    for detection in detections:
        detection["score"] = round(detection["score"], 1) if tied else detection["score"]
    return coco(rows, images=images, categories=categories), detections


def with_copies(truth: COCO, detections: list[dict], copies) -> tuple[COCO, list[dict]]:
    """The set in which image number i by ascending id is there copies[i] times, copies next to each other."""
    images, annotations, copied = [], [], []
    for image_id, count in zip(sorted(truth.imgs), copies, strict=True):
        for _ in range(count):
            new = {"image_id": len(images) + 1}
            images.append({**truth.imgs[image_id], "id": len(images) + 1})
            annotations += [{**a, **new} for a in truth.dataset["annotations"] if a["image_id"] == image_id]
            copied += [{**d, **new} for d in detections if d["image_id"] == image_id]
    repeated = COCO()
    numbered = [{**annotation, "id": number} for number, annotation in enumerate(annotations, start=1)]
    repeated.dataset = {"images": images, "categories": truth.dataset["categories"], "annotations": numbered}
    repeated.createIndex()
    return repeated, copied
