"""A model on every image of a split: COCO results entries, in batches of the validation loader or in parts."""

from collections.abc import Mapping
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset
from ultralytics.cfg import get_cfg
from ultralytics.utils import TQDM
from ultralytics.utils.patches import imread

from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.image_files import undecodable
from swin_yolo.engine.backend import Backend
from swin_yolo.engine.datasets import build_dataset, evaluation_loader
from swin_yolo.engine.detections import batch_detections, suppressed, to_detections
from swin_yolo.engine.detector import Detector, PreparedFrame, Preparer
from swin_yolo.engine.slicing import Slicing
from swin_yolo.scoring.average_precision import Detection
from swin_yolo.video.frames import Clip, Frame
from swin_yolo.video.sources import Source


def detect_all(
    backend: Backend,
    index: CocoIndex,
    category_id_of: Mapping[int, int],
    *,
    imgsz: int,
    batch_size: int,
    workers: int,
    conf_thres: float,
    iou_thres: float,
    max_det: int,
) -> list[Detection]:
    """COCO results entries of a model on all images, each scaled to `imgsz` as in training's validation.

    Args:
        backend: the model.
        index: the split.
        category_id_of: category_id of a class index of the model; boxes of other classes are left out.
        imgsz: longer side the images are scaled to, in pixels.
        batch_size: images per forward pass.
        workers: processes that load images.
        conf_thres: detections below this score are left out.
        iou_thres: IoU above which NMS removes the weaker of two boxes.
        max_det: most detections an image may have.
    """
    args, stride = get_cfg(overrides={"imgsz": imgsz}), max(backend.stride, 32)
    dataset = build_dataset(index, args, mode="val", batch_size=batch_size, stride=stride)
    if backend.fixed_hw is not None:
        dataset.batch_shapes[:] = backend.fixed_hw
    loader = evaluation_loader(dataset, batch_size=batch_size, workers=workers)
    entries: list[Detection] = []
    for batch in TQDM(loader, desc="scoring", total=len(loader)):
        images = batch["img"].to(backend.device, non_blocking=True).float() / 255
        predictions = suppressed(
            backend(images), conf_thres=conf_thres, iou_thres=iou_thres, max_det=max_det, end2end=backend.end2end
        )
        entries += batch_detections(predictions, batch, dataset, category_id_of)
    return entries


def detect_all_sliced(
    backend: Backend,
    index: CocoIndex,
    category_id_of: Mapping[int, int],
    *,
    slicing: Slicing,
    imgsz: int,
    batch_size: int,
    workers: int,
    conf_thres: float,
    iou_thres: float,
    max_det: int,
) -> list[Detection]:
    """`detect_all` that looks at overlapping parts of each image as well, as `detect` does with `slicing`."""
    detector = Detector(
        backend,
        imgsz=imgsz,
        batch_size=batch_size,
        conf_thres=conf_thres,
        iou_thres=iou_thres,
        max_det=max_det,
        slicing=slicing,
        multi_label=True,
    )
    index.check_images()
    images = _PreparedImages(index, detector.prepare)
    loader: DataLoader[Any] = DataLoader(images, batch_size=1, num_workers=workers, collate_fn=list)
    entries: list[Detection] = []
    for i, prepared in enumerate(TQDM(loader, desc="scoring", total=len(loader))):
        (found,) = detector.detect(prepared)
        entries += to_detections(
            torch.from_numpy(found.boxes_xyxy),
            torch.from_numpy(found.scores),
            torch.from_numpy(found.class_indices),
            image_id=int(index.image_ids[i]),
            category_id_of=category_id_of,
        )
    return entries


class _PreparedImages(Dataset):
    """The images of a split, cut and letterboxed by loader processes; image i is item i."""

    def __init__(self, index: CocoIndex, prepare: Preparer):
        self._index, self._prepare = index, prepare

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: int) -> PreparedFrame:
        file = self._index.image_file(i)
        image_bgr = imread(str(file), cv2.IMREAD_COLOR)
        if image_bgr is None:
            raise undecodable(file, annotations_file=self._index.annotations_file, why="OpenCV cannot read it")
        return self._prepare(Frame(image_bgr, Clip(Source("image", str(file), file.stem))))
