import json

import pytest
import torch
import yaml
from tiny import CATEGORIES, IMAGES, NAMES, tiny_set
from ultralytics.cfg import get_cfg

from swin_yolo.engine.datasets import build_dataset, evaluation_loader, load_splits
from swin_yolo.errors import InputError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


def test_splits_come_with_the_classes_in_the_order_of_their_ids(data):
    splits = load_splits(data)
    assert {name: len(splits[name]) for name in ("train", "val")} == {"train": 12, "val": 6}
    assert splits["names"] == NAMES and splits["nc"] == 2 and splits["channels"] == 3
    assert splits["train"].category_ids == (3, 7)
    assert "test" not in splits


def test_only_the_splits_asked_for_are_read(data, tmp_path):
    (tmp_path / "train.json").write_text("not read")
    config = yaml.safe_load(data.read_text()) | {"path": str(data.parent)}
    config["train"]["annotations"] = str(tmp_path / "train.json")
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(config))
    assert load_splits(tmp_path / "set.yaml", ("test",))["test"].image_ids.tolist() == [900]


def test_splits_of_other_categories_are_an_error(data, tmp_path):
    content = json.loads((data.parent / "val.json").read_text())
    content["categories"] = [{"id": 7, "name": "rod"}, CATEGORIES[1]]
    (tmp_path / "val.json").write_text(json.dumps(content))
    config = yaml.safe_load(data.read_text()) | {"path": str(data.parent)}
    config["val"]["annotations"] = str(tmp_path / "val.json")
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"val.json: 'categories' must be those of .*train.json, got \{7: 'rod'\}"):
        load_splits(tmp_path / "set.yaml")


def test_a_split_that_is_not_there_is_an_error(data):
    with pytest.raises(InputError, match=r"tiny.yaml: has no split 'minitest'; it has train, val, test"):
        load_splits(data, ("minitest",))


def test_training_images_are_augmented_squares_and_validation_images_rectangles(data):
    splits, args = load_splits(data), get_cfg(overrides={"imgsz": 64})
    train = build_dataset(splits["train"], args, mode="train", batch_size=4, stride=32)
    val = build_dataset(splits["val"], args, mode="val", batch_size=2, stride=32)
    assert train.augment and not train.rect and train[0]["img"].shape == (3, 64, 64)
    assert not val.augment and val.rect
    shapes = {tuple(val[i]["img"].shape) for i in range(len(val))}
    assert len(shapes) > 1, "landscape and portrait have batches of their own"
    assert all(side % 32 == 0 for shape in shapes for side in shape[1:])


def test_settings_of_the_run_reach_the_dataset(data):
    splits, args = load_splits(data), get_cfg(overrides={"imgsz": 96, "fraction": 0.5, "cache": "ram", "rect": True})
    train = build_dataset(splits["train"], args, mode="train", batch_size=4, stride=32)
    assert len(train) == 6 and train.imgsz == 96 and train.cache == "ram" and train.rect
    assert len(build_dataset(splits["val"], args, mode="val", batch_size=4, stride=32)) == IMAGES["val"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_evaluation_loader_gives_each_image_once(data, workers):
    index = load_splits(data, ("val",))["val"]
    dataset = build_dataset(index, get_cfg(overrides={"imgsz": 64}), mode="val", batch_size=4, stride=32)
    loader = evaluation_loader(dataset, batch_size=4, workers=workers)
    assert loader.num_workers == workers
    batches = [(len(batch["im_file"]), batch["im_file"]) for batch in loader]
    loader.close()
    assert [count for count, _ in batches] == [4, 2]
    assert sorted(f for _, files in batches for f in files) == sorted(dataset.im_files)


def test_the_labels_of_a_batch_leave_crowds_out(data):
    index = load_splits(data, ("val",))["val"]
    dataset = build_dataset(index, get_cfg(overrides={"imgsz": 64}), mode="val", batch_size=6, stride=32)
    (batch,) = evaluation_loader(dataset, batch_size=6, workers=0)
    boxes_of_image = torch.bincount(batch["batch_idx"].int(), minlength=6)
    by_file = {f.rsplit("_", 1)[1]: n for f, n in zip(batch["im_file"], boxes_of_image.tolist(), strict=True)}
    assert by_file == {"0.png": 1, "1.png": 0, "2.png": 1, "3.png": 2, "4.png": 2, "5.png": 2}
