"""A COCO set in the layout of ultralytics: a .txt of boxes for each image."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from swin_yolo.data.coco import CocoIndex


def write_yolo(splits: Mapping[str, CocoIndex], folder: Path) -> Path:
    """Copy images and write labels into a folder; gives its dataset YAML. Crowds are left out, as in training."""
    for split, index in splits.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        for made in (images, labels):
            made.mkdir(parents=True)
        for i in range(len(index)):
            file, stem = index.image_file(i), f"{i:06d}"
            shutil.copyfile(file, images / f"{stem}{file.suffix}")
            class_indices, boxes_cxcywhn = index.labels(i)
            lines = [
                f"{k} {' '.join(f'{value:.6f}' for value in box)}"
                for k, box in zip(class_indices.tolist(), boxes_cxcywhn.tolist(), strict=True)
            ]
            (labels / f"{stem}.txt").write_text("".join(f"{line}\n" for line in lines))
    names = dict(enumerate(next(iter(splits.values())).names))
    described = {"path": str(folder), **{split: f"images/{split}" for split in splits}, "names": names}
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump(described))
    return file
