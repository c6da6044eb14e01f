"""Splits of a folder as Roboflow, COCO and CVAT lay one out."""

from dataclasses import dataclass
from pathlib import Path

from ultralytics.utils import LOGGER

from swin_yolo.errors import InputError

_SPLIT_NAMES = {"valid": "val", "validation": "val"}


@dataclass(frozen=True)
class Split:
    """One split: `images`, the folder that the JSON's file names are relative to, and `annotations`, the JSON."""

    images: Path
    annotations: Path


def splits_of_folder(folder: Path) -> dict[str, Split]:
    """The splits in a folder by name ("train", "val", "test", or as the files call them).

    Roboflow: train/_annotations.coco.json with the images beside it, valid/ and test/ likewise.
    COCO: annotations/instances_train2017.json with the images in train2017/, images/train2017/, train/, images/train/
    or images/; instances_train.json likewise. CVAT: annotations/instances_default.json with images/default/ or images/;
    where that is all there is, it is both train and val, and a warning says so.

    Raises:
        InputError: laid out in none of these ways, two files for one split, or no folder of images for a file.
    """
    roboflow = {
        _SPLIT_NAMES.get(file.parent.name, file.parent.name): Split(file.parent, file)
        for file in sorted(folder.glob("*/_annotations.coco.json"))
    }
    if roboflow:
        return roboflow
    splits: dict[str, Split] = {}
    for file in sorted((folder / "annotations").glob("instances_*.json")):
        subset = file.stem.removeprefix("instances_")
        name = subset.rstrip("0123456789") or subset
        name = _SPLIT_NAMES.get(name, name)
        if name in splits:
            raise InputError(
                f"{folder}: {splits[name].annotations.name} and {file.name} are both a {name!r} split; "
                "say which is meant in a dataset YAML"
            )
        splits[name] = Split(_images_of(folder, subset, name), file)
    if not splits:
        raise InputError(
            f"{folder}: expected train/_annotations.coco.json (Roboflow) or annotations/instances_*.json (COCO, CVAT), "
            "found neither; write a dataset YAML with path, train and val instead"
        )
    return _as_train_and_val(folder, splits)


def _images_of(folder: Path, subset: str, name: str) -> Path:
    places = [folder / subset, folder / "images" / subset, folder / name, folder / "images" / name, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        f"{folder}: no images for annotations/instances_{subset}.json, looked for the folders "
        f"{', '.join(str(place.relative_to(folder)) for place in dict.fromkeys(places))}"
    )


def _as_train_and_val(folder: Path, splits: dict[str, Split]) -> dict[str, Split]:
    if set(splits) != {"default"}:
        return splits
    LOGGER.warning(f"{folder}: has one split, 'default', which is used as train and as val: the scores will flatter")
    return {"train": splits["default"], "val": splits["default"]}
