import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import picture, small_checkpoint
from sahi.models.base import DetectionModel
from sahi.postprocess.combine import GreedyNMMPostprocess, NMSPostprocess
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction
from sahi.slicing import get_slice_bboxes

from swin_yolo.engine.backend import open_backend
from swin_yolo.engine.detect import detect
from swin_yolo.engine.detector import Detector
from swin_yolo.engine.slicing import Slicing, merge
from swin_yolo.video.frames import Clip, Frame
from swin_yolo.video.sources import Source

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
COCO_WEIGHTS, VIDEO = SHARED / "yolov5n_coco" / "yolov5n.pt", SHARED / "video" / "vtest_first200.mp4"


@pytest.mark.parametrize("hw", [(48, 64), (640, 640), (641, 640), (480, 1920), (1080, 1920), (700, 300), (1, 5000)])
@pytest.mark.parametrize(("side", "overlap"), [(640, 0.2), (200, 0.0), (256, 0.5), (300, 0.9)])
def test_parts_are_sahi_s_and_then_the_whole_image(hw, side, overlap):
    theirs = get_slice_bboxes(*hw, side, side, overlap_height_ratio=overlap, overlap_width_ratio=overlap)
    *parts, last = Slicing(side, overlap).parts(*hw)
    if parts:
        assert [list(part) for part in parts] == theirs and last == (0, 0, hw[1], hw[0])
    else:
        assert [list(last)] == theirs == [[0, 0, hw[1], hw[0]]]


def test_parts_cover_every_pixel_and_are_of_one_size():
    *parts, _ = Slicing(100, 0.3).parts(230, 410)
    covered = np.zeros((230, 410), bool)
    for left, top, right, bottom in parts:
        covered[top:bottom, left:right] = True
        assert (right - left, bottom - top) == (100, 100)
    assert covered.all()


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_that_never_ends_is_refused(overlap):
    with pytest.raises(ValueError, match="expected an overlap from 0 to below 1"):
        Slicing(640, overlap)


def sahi_merged(boxes: np.ndarray, conf_thres: float) -> np.ndarray:
    """What sahi makes of boxes, as its `get_sliced_prediction` comes."""
    predictions = [
        ObjectPrediction(bbox=box[:4].tolist(), score=float(box[4]), category_id=int(box[5]), full_shape=[9999, 9999])
        for box in boxes
    ]
    post = NMSPostprocess(0.5, "IOU", False) if conf_thres < 0.1 else GreedyNMMPostprocess(0.5, "IOS", False)
    return rows_of(post(predictions))


def rows_of(predictions: list[ObjectPrediction]) -> np.ndarray:
    rows = [[*p.bbox.to_xyxy(), p.score.value, p.category.id] for p in predictions]
    return in_order(np.array(rows, np.float32).reshape(-1, 6))


def in_order(boxes: np.ndarray) -> np.ndarray:
    return boxes[np.lexsort((*boxes.T[:4], boxes[:, 5], -boxes[:, 4]))]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("conf_thres", [0.25, 0.01])
def test_boxes_are_merged_as_by_sahi(seed, conf_thres):
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, 60, (80, 2)), rng.uniform(5, 80, (80, 2))
    # Coarse scores give ties; whole pixels are exact in float32.
    scores, classes = rng.integers(3, 10, 80) / 10, rng.integers(0, 3, 80)
    boxes = np.column_stack((corners, corners + sides, scores, classes)).round(1).astype(np.float32)
    boxes[:, :4] = boxes[:, :4].round()
    merged = merge(boxes, conf_thres=conf_thres)
    np.testing.assert_array_equal(in_order(merged), sahi_merged(boxes, conf_thres))
    assert 3 < len(merged) < 80 and (np.diff(merged[:, 4]) <= 0).all()


def test_no_boxes_are_merged_to_none():
    assert merge(np.zeros((0, 6), np.float32), conf_thres=0.25).shape == (0, 6)


def test_an_object_cut_by_a_part_s_edge_becomes_one_box():
    halves = np.array([[10, 10, 60, 30, 0.8, 0], [40, 10, 60, 30, 0.6, 0], [40, 10, 60, 30, 0.5, 1]], np.float32)
    np.testing.assert_allclose(merge(halves, conf_thres=0.25), halves[[0, 2]])
    grown = np.array([[10, 10, 60, 30, 0.8, 0], [30, 10, 65, 32, 0.6, 0]], np.float32)
    np.testing.assert_allclose(merge(grown, conf_thres=0.25), [[10, 10, 65, 32, 0.8, 0]])


# Against sahi from end to end


def frame_of(image_bgr: np.ndarray) -> Frame:
    return Frame(image_bgr, Clip(Source("image", "image.png", "image")))


def detector_of(weights: Path, imgsz: int, **changed) -> Detector:
    backend = open_backend(weights, device=torch.device("cpu"), imgsz=imgsz)
    settings = {"imgsz": imgsz, "batch_size": 1, "conf_thres": 0.25, "iou_thres": 0.45, "max_det": 300, **changed}
    return Detector(backend, **settings)


class Ours(DetectionModel):
    """Our detector, without slicing, as sahi wants models to be."""

    def __init__(self, detector: Detector, conf_thres: float):
        super().__init__(model=detector, confidence_threshold=conf_thres, device="cpu")

    def set_model(self, model, **kwargs):
        self.model = model

    def perform_inference(self, image, **kwargs):
        (self._original_predictions,) = self.model.detect([self.model.prepare(frame_of(image))])

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list=None, full_shape_list=None):
        shift, full = shift_amount_list or [0, 0], full_shape_list or None
        shift = shift[0] if isinstance(shift[0], list) else shift
        full = full[0] if full and isinstance(full[0], list) else full
        found = self._original_predictions
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box.tolist(),
                    score=float(score),
                    category_id=int(index),
                    category_name=str(index),
                    shift_amount=shift,
                    full_shape=full,
                )
                for box, score, index in zip(found.boxes_xyxy, found.scores, found.class_indices, strict=True)
            ]
        ]


def both(weights: Path, image: np.ndarray, *, imgsz: int, side: int, conf_thres: float) -> tuple[np.ndarray, ...]:
    """Sliced detections of an image by ours and by sahi, in the same order."""
    settings = {"conf_thres": conf_thres, "max_det": 10_000}
    model = Ours(detector_of(weights, imgsz, **settings), conf_thres)
    theirs = get_sliced_prediction(image, model, side, side, 0.2, 0.2, verbose=0).object_prediction_list
    sliced = detector_of(weights, imgsz, slicing=Slicing(side, 0.2), **settings)
    (found,) = sliced.detect([sliced.prepare(frame_of(image))])
    ours = np.column_stack((found.boxes_xyxy, found.scores, found.class_indices)).astype(np.float32)
    return in_order(ours), rows_of(theirs)


def test_sliced_detections_are_sahi_s(tmp_path):
    weights = small_checkpoint(tmp_path / "small.pt")
    ours, theirs = both(weights, picture(5, (100, 150)), imgsz=64, side=64, conf_thres=0.68)
    assert len(ours) > 10
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.skipif(not (COCO_WEIGHTS.is_file() and VIDEO.is_file()), reason="needs the COCO weights and a real video")
@pytest.mark.parametrize("conf_thres", [0.25, 0.05])
def test_sliced_detections_of_a_real_image_are_sahi_s(conf_thres):
    image = cv2.VideoCapture(str(VIDEO)).read()[1]
    ours, theirs = both(COCO_WEIGHTS, image, imgsz=320, side=320, conf_thres=conf_thres)
    assert len(ours) >= 10
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_slicing_by_the_command_s_function_finds_more(tmp_path):
    weights = small_checkpoint(tmp_path / "small.pt")
    cv2.imwrite(str(tmp_path / "image.png"), picture(5, (100, 150)))
    settings = {"imgsz": 64, "device": "cpu", "conf_thres": 0.68, "save": False}
    whole = detect(weights, tmp_path / "image.png", save_dir=tmp_path / "a", **settings)
    sliced = detect(weights, tmp_path / "image.png", save_dir=tmp_path / "b", slicing=Slicing(64), **settings)
    assert sliced.boxes.total() > whole.boxes.total() > 0
    boxes = [entry["bbox"] for entry in json.loads((tmp_path / "b" / "detections.json").read_text())]
    assert max(left + width for left, _, width, _ in boxes) > 100, "in pixels of the image"
