"""A model as a function from frames to boxes: letterbox, forward, NMS, back to the frame's pixels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from swin_yolo.engine.backend import Backend
from swin_yolo.engine.slicing import Slicing, merge
from swin_yolo.errors import InputError
from swin_yolo.video.frames import Frame


@dataclass(frozen=True)
class Detections:
    """What was found in a frame, by falling score.

    Attributes:
        boxes_xyxy: (N, 4) float32 left, top, right, bottom in pixels of the frame. N may be 0.
        scores: (N,) float32.
        class_indices: (N,) int64.
        track_ids: (N,) int64 from 1 on; None where nothing is tracked.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    class_indices: np.ndarray
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        """Boxes."""
        return len(self.boxes_xyxy)


@dataclass(frozen=True)
class View:
    """A part of a frame, or the whole, as the network takes it.

    Attributes:
        network_rgb: (H, W, 3) uint8, letterboxed.
        left, top: of the part in the frame, pixels.
        hw: size of the part in the frame, pixels.
    """

    network_rgb: np.ndarray
    left: int
    top: int
    hw: tuple[int, int]


@dataclass(frozen=True)
class PreparedFrame:
    """A frame and the views of it that the network is going to see."""

    frame: Frame
    views: list[View]


class Preparer:
    """Cuts and letterboxes frames for a model: the part of the work that needs none, for other threads and processes.

    Args:
        backend: the model; it is not kept.
        imgsz: longer side, or (H, W), that frames are scaled to, in pixels; a model of a fixed size takes that.
        slicing: look at overlapping parts of each frame too; None looks at the whole alone.
    """

    def __init__(self, backend: Backend, *, imgsz: int | tuple[int, int], slicing: Slicing | None = None):
        hw = backend.fixed_hw or ((imgsz, imgsz) if isinstance(imgsz, int) else imgsz)
        # auto: no more grey than the stride asks for.
        self._letterbox = LetterBox(hw, auto=backend.fixed_hw is None, stride=max(backend.stride, 32))
        self._slicing = slicing

    def __call__(self, frame: Frame) -> PreparedFrame:
        """The views of a frame."""
        image_bgr = frame.image_bgr
        H, W = image_bgr.shape[:2]
        parts = [(0, 0, W, H)] if self._slicing is None else self._slicing.parts(H, W)
        views = []
        for left, top, right, bottom in parts:
            network_bgr = self._letterbox(image=image_bgr[top:bottom, left:right])
            network_rgb = cv2.cvtColor(network_bgr, cv2.COLOR_BGR2RGB)
            views.append(View(network_rgb, left, top, (bottom - top, right - left)))
        return PreparedFrame(frame, views)


class Detector:
    """Finds boxes in frames.

    Args:
        backend: the model.
        imgsz: longer side, or (H, W), that frames are scaled to, in pixels; a model of a fixed size takes that.
        batch_size: most views in a forward pass.
        conf_thres: boxes below this score are left out.
        iou_thres: IoU above which NMS removes the weaker of two boxes.
        max_det: most boxes in a frame.
        class_indices: the classes to find; None finds all.
        slicing: look at overlapping parts of each frame too; None looks at the whole alone.
        multi_label: a box may be of several classes, each with its score, as average precision wants it.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        imgsz: int | tuple[int, int],
        batch_size: int,
        conf_thres: float,
        iou_thres: float,
        max_det: int,
        class_indices: list[int] | None = None,
        slicing: Slicing | None = None,
        multi_label: bool = False,
    ):
        self._backend, self._batch_size, self._multi_label = backend, batch_size, multi_label
        self._conf_thres, self._iou_thres, self._max_det = conf_thres, iou_thres, max_det
        self._class_indices = class_indices
        self.prepare = Preparer(backend, imgsz=imgsz, slicing=slicing)

    @torch.inference_mode()
    def detect(self, batch: Sequence[PreparedFrame]) -> list[Detections]:
        """What is in each of the frames."""
        by_shape = defaultdict(list)  # the network takes views of one size at a time
        for number, prepared in enumerate(batch):
            for view in prepared.views:
                by_shape[view.network_rgb.shape].append((number, view))
        found: list[list[np.ndarray]] = [[] for _ in batch]
        for views in by_shape.values():
            for start in range(0, len(views), self._batch_size):
                chunk = views[start : start + self._batch_size]
                for (number, _), rows in zip(chunk, self._forward([view for _, view in chunk]), strict=True):
                    found[number].append(rows)
        return [self._joined(rows) for rows in found]

    def _forward(self, views: Sequence[View]) -> list[np.ndarray]:
        """Boxes of views of one network size, each (n, 6): corners in pixels of the frame, score, class index."""
        images = torch.from_numpy(np.stack([view.network_rgb for view in views]))  # B H W 3
        images = images.to(self._backend.device).permute(0, 3, 1, 2)  # B 3 H W
        outputs = non_max_suppression(
            self._backend(images.float() / 255),
            self._conf_thres,
            self._iou_thres,
            classes=self._class_indices,
            multi_label=self._multi_label,
            max_det=self._max_det,
            end2end=self._backend.end2end,
            max_time_img=float("inf"),  # on a busy machine it would leave out boxes
        )
        found = []
        for view, output in zip(views, outputs, strict=True):
            output[:, :4] = scale_boxes(images.shape[2:], output[:, :4], view.hw)
            output[:, :4] += output.new_tensor([view.left, view.top, view.left, view.top])
            found.append(output.float().cpu().numpy())
        return found

    def _joined(self, rows: Sequence[np.ndarray]) -> Detections:
        """The boxes of all views of a frame; parts that see the same thing are merged."""
        boxes = np.concatenate(rows)
        if len(rows) > 1:
            boxes = merge(boxes, conf_thres=self._conf_thres)[: self._max_det]
        return Detections(boxes[:, :4], boxes[:, 4], boxes[:, 5].astype(np.int64))


def choose_classes(classes: Sequence[str] | None, names: dict[int, str]) -> list[int] | None:
    """Class indices of `--classes`, by name or by number; None where that is not given.

    Raises:
        InputError: if the model has no such class.
    """
    if not classes:
        return None
    index_of = {name: index for index, name in names.items()}
    index_of |= {str(index): index for index in names if str(index) not in index_of}
    if unknown := [text for text in classes if text not in index_of]:
        listed = ", ".join(f"{index} {name}" for index, name in list(names.items())[:20])
        raise InputError(
            f"--classes {' '.join(unknown)}: the model has no such class; its {len(names)} are {listed}"
            f"{' ...' if len(names) > 20 else ''}"
        )
    return sorted({index_of[text] for text in classes})
