"""From `--data` to what ultralytics' trainer and our scorer read: one CocoIndex a split, and the loaders over them."""

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from ultralytics.cfg import IterableSimpleNamespace
from ultralytics.data import build_dataloader

from swin_yolo.data.coco import CocoIndex, check_same_categories
from swin_yolo.data.config import load_config
from swin_yolo.data.dataset import CocoDataset


def load_splits(data: str | Path, splits: tuple[str, ...] = ("train", "val")) -> dict[str, Any]:
    """The dictionary ultralytics calls `data`: an index for each split asked for, and the classes.

    Args:
        data: dataset YAML, folder or name of a shipped YAML.
        splits: names of the splits to load.

    Returns:
        {split: CocoIndex, "nc": number of classes, "names": {class_index: name}, "channels": 3}.

    Raises:
        InputError: if the dataset cannot be used, or its splits declare different categories.
    """
    config = load_config(data)
    found = (config.split(name) for name in splits)
    indexes = {name: CocoIndex.from_json(s.annotations, s.images) for name, s in zip(splits, found, strict=True)}
    first = indexes[splits[0]]
    for index in indexes.values():
        check_same_categories(first, index)
    return {**indexes, "nc": len(first.names), "names": dict(enumerate(first.names)), "channels": 3}


def build_dataset(
    index: CocoIndex, args: IterableSimpleNamespace, *, mode: str, batch_size: int, stride: int
) -> CocoDataset:
    """A split as ultralytics trains (`mode="train"`: augmented) or validates (`mode="val"`: rectangles) on it."""
    training = mode == "train"
    return CocoDataset(
        index,
        imgsz=args.imgsz,
        augment=training,
        hyp=args,
        rect=args.rect or not training,
        batch_size=batch_size,
        stride=stride,
        pad=0.0 if training else 0.5,
        cache=args.cache,
        fraction=args.fraction if training else 1.0,
        prefix=f"{mode}: ",
    )


def evaluation_loader(dataset: CocoDataset, *, batch_size: int, workers: int) -> DataLoader:
    """Batches in order, each image once."""
    return build_dataloader(dataset, batch_size, workers, shuffle=False, rank=-1, pin_memory=False)
