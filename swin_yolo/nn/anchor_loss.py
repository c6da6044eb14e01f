"""YOLOv5's loss for `AnchorDetect`: which anchors of which cells answer for a box, and what they pay.

Shapes: `n` boxes of a batch, `na` anchors per level, `M` matches: (image, anchor, cell) that answer for a box.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from ultralytics.utils.metrics import bbox_iou

from .anchor import AnchorDetect

# Weight of each level's objectness: small maps have few cells, and so large ones would drown them.
BALANCE = {3: (4.0, 1.0, 0.4)}
BALANCE_OTHERWISE = (4.0, 1.0, 0.25, 0.06, 0.02)

# From a cell to itself and to its left, upper, right and lower neighbours, as (x, y) taken off the box centre: half a
# cell is enough to fall into a neighbour that is nearer than half a cell. The order decides which of two boxes a cell
# that answers for both ends up with.
_STEPS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5))


class Matches(NamedTuple):
    """The predictions of a level that answer for a box; all (M,) int64 but the boxes.

    Attributes:
        image: index in the batch.
        anchor: index of the anchor.
        row: cell's row.
        column: cell's column.
        boxes_cxcywh: (M, 4), centre from the cell's upper left corner, and size, in cells.
        class_index: of the box.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes_cxcywh: Tensor
    class_index: Tensor


def match_targets(targets: Tensor, anchors: Tensor, map_hw: tuple[int, int], *, anchor_t: float = 4.0) -> Matches:
    """The predictions of one level that answer for each box.

    An anchor fits a box if neither side is `anchor_t` times the other's or more. It answers in the cell that holds the
    box centre and in the two neighbours nearest to it, where the map has them.

    Args:
        targets: (n, 6) image, class index, box centre x, y, width and height as fractions of the image. n may be 0.
        anchors: (na, 2) width and height in cells.
        map_hw: (H, W) of the level in cells.
        anchor_t: largest ratio of sides, itself left out.
    """
    H, W = map_hw
    size_wh = targets.new_tensor([W, H])
    boxes = targets[:, 2:] * size_wh.repeat(2)  # n 4, in cells
    ratio = boxes[None, :, 2:] / anchors[:, None]  # na n 2
    anchor, box = (torch.maximum(ratio, 1 / ratio).amax(2) < anchor_t).nonzero(as_tuple=True)
    step, match = _answering_cells(boxes[box, :2], size_wh).nonzero(as_tuple=True)
    anchor, box = anchor[match], box[match]
    centre = boxes[box, :2]  # M 2
    cell = (centre - targets.new_tensor(_STEPS)[step]).long()
    # A centre on the right or lower edge of the image lies in no cell.
    column, row = cell[:, 0].clamp(0, W - 1), cell[:, 1].clamp(0, H - 1)
    offset = centre - torch.stack((column, row), 1)
    image, class_index = targets[box, :2].long().T
    return Matches(image, anchor, row, column, torch.cat((offset, boxes[box, 2:]), 1), class_index)


def _answering_cells(centre: Tensor, size_wh: Tensor) -> Tensor:
    """(5, M) whether each of `_STEPS` from the centres (M, 2) leads to a cell that answers; of the first, always."""
    from_end = size_wh - centre
    # In the near half of a cell, and not in the first one, which has no neighbour on that side.
    left, up = ((centre % 1 < 0.5) & (centre > 1)).T
    right, down = ((from_end % 1 < 0.5) & (from_end > 1)).T
    return torch.stack((torch.ones_like(left), left, up, right, down))


class AnchorLoss:
    """YOLOv5's loss: complete IoU for boxes, binary cross entropy for objectness and classes.

    The gains are YOLOv5's default hyperparameters and are scaled as its training does: all by 3 / levels, the classes'
    by nc / 80, the objectness' by the training image's area over 640 x 640. Not a module: it has no state of its own.

    Args:
        head: the head; its anchors are read anew at every call.
        imgsz: side of the training images in pixels.
        anchor_box: gain of the box loss.
        anchor_cls: gain of the class loss.
        anchor_obj: gain of the objectness loss.
        anchor_t: see `match_targets`.
        label_smoothing: class targets are this/2 and 1 - this/2 in the place of 0 and 1.
        class_weights: (nc,) factors of the class loss; None for 1.
    """

    def __init__(
        self,
        head: AnchorDetect,
        *,
        imgsz: int = 640,
        anchor_box: float = 0.05,
        anchor_cls: float = 0.5,
        anchor_obj: float = 1.0,
        anchor_t: float = 4.0,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ):
        self.head, self.anchor_t, self.class_weights = head, anchor_t, class_weights
        self.box_gain = anchor_box * 3 / head.nl
        self.cls_gain = anchor_cls * head.nc / 80 * 3 / head.nl
        self.obj_gain = anchor_obj * (imgsz / 640) ** 2 * 3 / head.nl
        self.balance = BALANCE.get(head.nl, BALANCE_OTHERWISE)[: head.nl]
        self.positive, self.negative = 1 - label_smoothing / 2, label_smoothing / 2

    def __call__(self, preds: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            preds: what the head gave, in training or in validation.
            batch: ultralytics' batch: batch_idx (n,), cls (n, 1) and bboxes (n, 4), centre and size as fractions of
                the image. n may be 0.

        Returns:
            Sum of the three parts times the images in the batch, to be summed over batches of any size, and the
            parts, detached and not multiplied: box_loss, obj_loss, cls_loss.
        """
        levels = (preds[1] if isinstance(preds, tuple) else preds)["levels"]
        # Half precision, in a validation between epochs: a mean over all cells would lose the small terms.
        levels = [level.to(torch.promote_types(level.dtype, torch.float32)) for level in levels]
        targets = torch.cat((batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]), 1)
        targets = targets.to(levels[0])
        parts = torch.stack([self._level(level, i, targets) for i, level in enumerate(levels)]).sum(0)
        parts = parts * parts.new_tensor([self.box_gain, self.obj_gain, self.cls_gain])
        names = ("box_loss", "obj_loss", "cls_loss")
        return parts.sum() * levels[0].shape[0], dict(zip(names, parts.detach(), strict=True))

    def _level(self, level: Tensor, i: int, targets: Tensor) -> Tensor:
        """(3,) box, objectness and class loss of one level, without gains."""
        anchors = self.head.anchors[i].to(level)
        matches = match_targets(targets, anchors, (level.shape[2], level.shape[3]), anchor_t=self.anchor_t)
        at = (matches.image, matches.anchor, matches.row, matches.column)
        objectness = torch.zeros_like(level[..., 4])  # B na ny nx
        box_loss = class_loss = level.new_zeros(())
        if len(matches.image):
            xy, wh, _, classes = level[at].split((2, 2, 1, self.head.nc), 1)
            boxes = torch.cat((xy.sigmoid() * 2 - 0.5, (wh.sigmoid() * 2) ** 2 * anchors[matches.anchor]), 1)
            iou = bbox_iou(boxes, matches.boxes_cxcywh, CIoU=True).squeeze(1)
            box_loss = (1 - iou).mean()
            objectness[at] = iou.detach().clamp(0)
            class_loss = self._class_loss(classes, matches.class_index)
        return torch.stack((box_loss, self._objectness_loss(level, objectness, i), class_loss))

    def _objectness_loss(self, level: Tensor, objectness: Tensor, i: int) -> Tensor:
        return F.binary_cross_entropy_with_logits(level[..., 4], objectness) * self.balance[i]

    def _class_loss(self, logits: Tensor, class_index: Tensor) -> Tensor:
        """Mean over matches and classes; 0 for a single class, which objectness tells already."""
        if self.head.nc == 1:
            return logits.new_zeros(())
        target = torch.full_like(logits, self.negative)
        target[torch.arange(len(target), device=target.device), class_index] = self.positive
        return F.binary_cross_entropy_with_logits(logits, target, weight=self.class_weights)
