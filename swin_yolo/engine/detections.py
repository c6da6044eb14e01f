"""Model outputs as COCO results: original pixels, original image and category ids."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from ultralytics.utils import ops
from ultralytics.utils.nms import non_max_suppression

from swin_yolo.scoring.average_precision import Detection

# COCO's own results files carry 2 to 3 decimals of a pixel and 3 of a score; more digits of the score keep ties apart.
BOX_DECIMALS = 3
SCORE_DECIMALS = 6


class HasImageIds(Protocol):
    """A dataset that knows the COCO image id of a batch's file, as `CocoDataset` does."""

    def image_id_of(self, im_file: str) -> int:
        """The image id."""
        ...


def to_detections(
    boxes_xyxy: Tensor,
    scores: Tensor,
    class_indices: Tensor,
    *,
    image_id: int,
    category_id_of: Mapping[int, int],
) -> list[Detection]:
    """Boxes of one image as COCO results entries.

    Args:
        boxes_xyxy: (N, 4) in pixels of the original image. N may be 0.
        scores: (N,).
        class_indices: (N,) whole numbers.
        image_id: of the image.
        category_id_of: category_id of a class index; boxes of other classes are left out.
    """
    boxes_xywh = torch.cat((boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]), 1)
    return [
        {
            "image_id": image_id,
            "category_id": category_id_of[int(class_index)],
            "bbox": [round(value, BOX_DECIMALS) for value in box],
            "score": round(score, SCORE_DECIMALS),
        }
        for box, score, class_index in zip(boxes_xywh.tolist(), scores.tolist(), class_indices.tolist(), strict=True)
        if int(class_index) in category_id_of
    ]


def suppressed(
    output: Tensor, *, conf_thres: float, iou_thres: float, max_det: int, end2end: bool
) -> list[dict[str, Tensor]]:
    """What NMS leaves of a model's output, of each image, for average precision: a box may be of several classes.

    However long it takes: ultralytics' stops after some seconds and gives the images that are left no boxes, which on a
    busy machine would be scored as missed.

    Args:
        output: of a model on a batch, as ultralytics' non_max_suppression takes it.
        conf_thres: boxes below this score are left out.
        iou_thres: IoU above which the weaker of two boxes is removed.
        max_det: most boxes of an image.
        end2end: whether the output is final boxes.

    Returns:
        For each image `bboxes` (N, 4) xyxy in pixels of the network's input, `conf` (N,) and `cls` (N,).
    """
    found = non_max_suppression(
        output,
        conf_thres,
        iou_thres,
        multi_label=True,
        max_det=max_det,
        max_time_img=float("inf"),
        end2end=end2end,
    )
    return [{"bboxes": boxes[:, :4], "conf": boxes[:, 4], "cls": boxes[:, 5]} for boxes in found]


def batch_detections(
    predictions: list[dict[str, Tensor]],
    batch: dict[str, Any],
    dataset: HasImageIds,
    category_id_of: Mapping[int, int],
) -> list[Detection]:
    """What ultralytics' NMS gave for a batch of its loader, as COCO results entries.

    Args:
        predictions: see `suppressed`.
        batch: a batch of `dataset`, with the letterboxing of each image.
        dataset: where the batch comes from.
        category_id_of: category_id of a class index of the model.
    """
    entries = []
    for i, prediction in enumerate(predictions):
        boxes_xyxy = ops.scale_boxes(
            batch["img"].shape[2:], prediction["bboxes"].clone(), batch["ori_shape"][i], ratio_pad=batch["ratio_pad"][i]
        )
        entries += to_detections(
            boxes_xyxy,
            prediction["conf"],
            prediction["cls"],
            image_id=dataset.image_id_of(batch["im_file"][i]),
            category_id_of=category_id_of,
        )
    return entries
