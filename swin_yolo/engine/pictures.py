"""What a run draws: curves and tables of a score, predictions beside ground truth, and what training did."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from swin_yolo.data.coco import CocoIndex
from swin_yolo.report.label_plots import plot_labels
from swin_yolo.report.score_plots import plot_confusion_matrix, plot_pr_curves
from swin_yolo.report.side_by_side import side_by_side
from swin_yolo.report.training_curves import plot_training_curves
from swin_yolo.scoring.average_precision import CocoScore, Detection
from swin_yolo.scoring.confusion import confusion_matrix

SHOWN_IMAGES = 8


def draw_evaluation(save_dir: Path, index: CocoIndex, detections: list[Detection], score: CocoScore) -> list[Path]:
    """Draw a score into `save_dir`: PR curves, confusion matrix, and images spread over the split; gives the files."""
    files = [save_dir / name for name in ("pr_curve.png", "confusion_matrix.png", "predictions.jpg")]
    truth = index.to_coco()
    plot_pr_curves(score, files[0])
    plot_confusion_matrix(confusion_matrix(truth, detections), index.names, files[1])
    found = defaultdict(list)
    for detection in detections:
        found[detection["image_id"]].append(detection)
    shown = np.linspace(0, len(index) - 1, min(SHOWN_IMAGES, len(index))).round().astype(int).tolist()
    image_ids = [int(index.image_ids[i]) for i in shown]
    side_by_side(
        [index.image_file(i) for i in shown],
        [truth.imgToAnns[image_id] for image_id in image_ids],
        [found[image_id] for image_id in image_ids],
        dict(zip(index.category_ids, index.names, strict=True)),
        files[2],
        max_images=SHOWN_IMAGES,
    )
    return files


def draw_labels(save_dir: Path, index: CocoIndex) -> Path:
    """Draw what a split's boxes are like: how many of each class, how large; crowds are left out."""
    file = save_dir / "labels.png"
    single = ~index.iscrowd
    plot_labels(
        index.class_indices[single],
        index.boxes_xywh[single, 2:],
        index.areas[single],
        np.repeat(index.sizes_wh, np.diff(index.box_offsets), axis=0)[single],
        index.names,
        file,
    )
    return file


def draw_curves(save_dir: Path) -> Path:
    """Draw results.csv of a run: losses, AP and learning rate by epoch."""
    file = save_dir / "results.png"
    plot_training_curves(save_dir / "results.csv", file)
    return file
