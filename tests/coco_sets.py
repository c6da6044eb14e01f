"""Ground truth and detections of a few boxes, as pycocotools has them."""

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
