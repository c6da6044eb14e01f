import random

import cv2
import numpy as np
import pytest
import torch
from coco_files import CONTENT, SHARED, content, needs_bccd, save, save_images
from hypothesis import given
from hypothesis import strategies as st
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader
from ultralytics.data.dataset import YOLODataset

import swin_yolo.data.dataset as dataset_module
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.config import load_config
from swin_yolo.data.dataset import CocoDataset, evenly_spaced
from swin_yolo.errors import InputError

QUIET = get_cfg(overrides={"deterministic": False})


@pytest.fixture
def index(tmp_path):
    save_images(tmp_path / "images")
    return CocoIndex.from_json(save(tmp_path), tmp_path / "images")


def files_of(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def batches(dataset, seed=0):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return list(build_dataloader(dataset, 2, 0, shuffle=False))


def as_txt(index, folder):
    """The same set as ultralytics wants it: images/ and labels/ with a txt for each image."""
    save_images(folder / "images")
    (folder / "labels").mkdir()
    for i, name in enumerate(index.file_names):
        rows = (f"{c} {' '.join(str(float(v)) for v in box)}\n" for c, box in zip(*index.labels(i), strict=True))
        (folder / "labels" / name).with_suffix(".txt").write_text("".join(rows))
    return folder / "images"


# The same batches as ultralytics' own dataset


@pytest.mark.parametrize(
    ("augment", "rect", "single_cls"), [(True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("cache", [None, "ram"])
def test_batches_equal_those_of_ultralytics_from_txt_labels(index, tmp_path, augment, rect, single_cls, cache):
    hyp = get_cfg(overrides={"mosaic": 1.0, "mixup": 0.5, "degrees": 10.0, "deterministic": False})
    kwargs = {"imgsz": 64, "augment": augment, "hyp": hyp, "rect": rect, "batch_size": 2, "stride": 32, "pad": 0.5}
    kwargs |= {"single_cls": single_cls, "cache": cache}
    names = dict(enumerate(index.names))
    theirs = YOLODataset(img_path=str(as_txt(index, tmp_path / "txt")), data={"names": names, "nc": 3}, **kwargs)
    ours = CocoDataset(index, **kwargs)
    for a, b in zip(batches(ours), batches(theirs), strict=True):
        assert [f.rsplit("/", 1)[1] for f in a["im_file"]] == [f.rsplit("/", 1)[1] for f in b["im_file"]]
        assert a["ori_shape"] == b["ori_shape"]
        assert torch.equal(a["img"], b["img"])
        assert torch.equal(a["cls"], b["cls"])
        assert torch.equal(a["batch_idx"], b["batch_idx"])
        torch.testing.assert_close(a["bboxes"], b["bboxes"], rtol=0, atol=2e-6)  # txt holds decimals


def test_an_image_without_boxes_and_a_crowd_bring_no_rows(index):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET)
    assert [label["cls"].shape for label in dataset.labels] == [(1, 1), (2, 1), (0, 1)]
    assert [label["bboxes"].shape for label in dataset.labels] == [(1, 4), (2, 4), (0, 4)]
    assert dataset[2]["bboxes"].shape == (0, 4)


@pytest.mark.parametrize("rect", [True, False])
def test_every_image_of_a_batch_maps_back_to_its_image_id(index, tmp_path, rect):
    what = content()
    what["images"].reverse()  # from tall to wide, so that `rect` has to sort
    index = CocoIndex.from_json(save(tmp_path, what), index.images_dir)
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET, rect=rect, batch_size=2)
    found = {}
    for batch in batches(dataset):
        for im_file, (height, width) in zip(batch["im_file"], batch["ori_shape"], strict=True):
            found[dataset.image_id_of(im_file)] = [width, height]
    assert found == {image["id"]: [image["width"], image["height"]] for image in CONTENT["images"]}


def test_classes_keeps_only_those_class_indices(index):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET, classes=[1])
    assert [label["cls"].ravel().tolist() for label in dataset.labels] == [[], [1.0], []]


# Part of a set


@pytest.mark.parametrize(("fraction", "files"), [(1.0, "abc"), (0.67, "ab"), (0.01, "a"), (2, "ab"), (99, "abc")])
def test_fraction_is_a_part_or_a_number_of_the_images(index, fraction, files):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET, fraction=fraction)
    assert [file[-5] for file in dataset.im_files] == list(files)


@given(st.integers(1, 500), st.one_of(st.floats(0.001, 1.0), st.integers(2, 600)))
def test_a_fraction_is_spread_evenly_over_the_set(n, fraction):
    rows = evenly_spaced(n, fraction)
    count = min(fraction, n) if isinstance(fraction, int) else max(1, round(n * fraction))
    assert len(rows) == count
    assert rows[0] == 0
    gaps = np.diff([*rows, n])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


# Nothing is written, nothing of the user's is read


@pytest.mark.parametrize("cache", [None, False, "ram", True])
def test_nothing_is_written_beside_the_images(index, tmp_path, cache):
    before = files_of(tmp_path)
    batches(CocoDataset(index, imgsz=32, hyp=QUIET, augment=True, cache=cache))
    assert files_of(tmp_path) == before


def test_an_npy_file_of_the_users_is_neither_read_nor_removed(index, tmp_path):
    plain = CocoDataset(index, imgsz=32, hyp=QUIET)[0]["img"]
    np.save(tmp_path / "images" / "a.npy", np.zeros((20, 40, 3), np.uint8))
    (tmp_path / "images" / "b.npy").write_bytes(b"depth map")
    before = files_of(tmp_path)
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET)
    batches(dataset)
    assert torch.equal(dataset[0]["img"], plain)
    assert files_of(tmp_path) == before


def test_cache_on_disk_is_asked_for_and_says_where_it_writes(index, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(dataset_module.LOGGER, "warning", said.append)
    plain = batches(CocoDataset(index, imgsz=32, hyp=QUIET))
    cached = batches(CocoDataset(index, imgsz=32, hyp=QUIET, cache="disk"))
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == ["a.npy", "b.npy", "c.npy"]
    assert all(torch.equal(a["img"], b["img"]) for a, b in zip(plain, cached, strict=True))
    assert [text for text in said if "one .npy file per image into" in text and str(tmp_path / "images") in text]


# Images that cannot be used


def damage_missing(folder):
    (folder / "b.jpg").unlink()


def damage_text(folder):
    (folder / "b.jpg").write_text("no image")


def damage_size(folder):
    cv2.imwrite(str(folder / "b.jpg"), np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing, "1 of 3 images are not in .*: b.jpg"),
        (damage_text, "b.jpg: cannot be decoded"),
        (damage_size, "b.jpg: is 8 x 8 pixels .* says 30 x 30"),
    ],
)
def test_a_small_set_is_checked_before_training(index, tmp_path, damage, words):
    damage(tmp_path / "images")
    with pytest.raises(InputError, match=words):
        CocoDataset(index, imgsz=32, hyp=QUIET)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing, "b.jpg: the image is no longer there; .*set.json lists it"),
        (damage_text, "b.jpg: cannot be decoded as an image .*set.json"),
        (damage_size, "b.jpg: is 8 x 8 pixels .* says 30 x 30"),
    ],
)
def test_an_image_that_fails_when_loaded_is_an_error_not_skipped(index, tmp_path, damage, words):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET)
    damage(tmp_path / "images")
    with pytest.raises(InputError, match=words):
        dataset[1]


def test_a_large_set_is_checked_as_its_images_are_loaded(index, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_module, "CHECKED_AT_ONCE", 2)
    damage_size(tmp_path / "images")
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET)
    assert dataset[0]["img"].shape == (3, 32, 32)
    with pytest.raises(InputError, match="is 8 x 8 pixels"):
        dataset[1]


def test_file_names_with_folders_and_spaces_are_found(tmp_path):
    what = content()
    what["images"][0]["file_name"] = "sub folder/ä 1.jpg"
    (tmp_path / "images" / "sub folder").mkdir(parents=True)
    save_images(tmp_path / "images", what)
    dataset = CocoDataset(CocoIndex.from_json(save(tmp_path, what), tmp_path / "images"), imgsz=32, hyp=QUIET)
    assert dataset.image_id_of(dataset[0]["im_file"]) == 10


@needs_bccd
def test_real_photographs_make_batches(monkeypatch):
    monkeypatch.setenv("SWIN_YOLO_DATA", str(SHARED))
    split = load_config("bccd").split("test")
    index = CocoIndex.from_json(split.annotations, split.images)
    dataset = CocoDataset(index, imgsz=320, augment=True, hyp=get_cfg(), batch_size=8, fraction=8)
    batch = next(iter(build_dataloader(dataset, 8, 0, shuffle=True)))
    assert batch["img"].shape == (8, 3, 320, 320)
    assert len(batch["bboxes"]) > 8
