import pickle

import numpy as np
import pytest
from coco_files import CONTENT, content, index_of, save, save_images
from ultralytics.cfg import get_cfg
from ultralytics.data.base import BaseDataset

import swin_yolo.data.index_cache as cache_module
from swin_yolo.benchmark.synthetic_coco import Scale, write_coco
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.dataset import CocoDataset
from swin_yolo.data.image_lists import CachedImageFiles, ImageFiles, Kept, Labels, SizeList

QUIET = get_cfg(overrides={"deterministic": False})


@pytest.fixture
def index(tmp_path):
    save_images(tmp_path)
    return index_of(tmp_path)


def plain(label):
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in label.items()}


def as_ultralytics_has_it(labels, *, classes, single_cls):
    """The labels after ultralytics' own `update_labels`, which changes a list of them."""
    dataset = object.__new__(BaseDataset)
    dataset.labels, dataset.single_cls = [labels[i] for i in range(len(labels))], single_cls
    dataset.update_labels(classes)
    return dataset.labels


def test_a_label_is_what_ultralytics_reads_from_a_txt_file(index):
    label = Labels(index, range(3))[0]
    assert plain(label) == {
        "im_file": str(index.images_dir / "a.jpg"),
        "shape": (20, 40),
        "cls": [[0.0]],
        "bboxes": [[0.5, 0.5, 0.5, 0.5]],
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }
    assert (label["cls"].dtype, label["bboxes"].dtype) == (np.float32, np.float32)


def test_a_label_is_the_caller_s_to_change(index):
    labels = Labels(index, range(3))
    before = plain(labels[1])
    for label in labels:
        label["cls"][:], label["bboxes"][:] = 9, 9
        label.pop("shape")
    assert plain(labels[1]) == before


@pytest.mark.parametrize("classes", [None, [], [1], [2, 0], [7]])
@pytest.mark.parametrize("single_cls", [True, False])
def test_classes_are_left_out_as_ultralytics_does(index, classes, single_cls):
    ours = Labels(index, range(3), classes=classes, single_cls=single_cls)
    theirs = as_ultralytics_has_it(Labels(index, range(3)), classes=classes, single_cls=single_cls)
    assert [plain(label) for label in ours] == [plain(label) for label in theirs]


def test_rows_choose_images_and_their_order(index):
    rows = np.array([2, 0])
    names = [str(index.images_dir / name) for name in ("c.jpg", "a.jpg")]
    assert list(ImageFiles(index, rows)) == names
    assert [label["im_file"] for label in Labels(index, rows)] == names
    assert [label["im_file"] for label in Labels(index, range(3), classes=[1]).reordered(rows)] == names


@pytest.mark.parametrize("rows", [range(3), np.array([1, 2, 0])])
def test_places_are_those_of_a_list(index, rows):
    files = ImageFiles(index, rows)
    every = list(files)
    assert (len(files), files[-1], files[1:], files[::-1]) == (3, every[-1], every[1:], every[::-1])
    for place in (3, -4):
        with pytest.raises(IndexError):
            files[place]


def test_decoded_images_are_beside_the_images_only_where_asked_for(index):
    assert CachedImageFiles(index, range(3), beside_images=True)[0] == index.images_dir / "a.npy"
    elsewhere = CachedImageFiles(index, range(3), beside_images=False)[0]
    assert not elsewhere.exists()
    with pytest.raises(OSError, match="not-cached"):
        elsewhere.write_bytes(b"")


@pytest.mark.parametrize("folder", [".", "", "/", "set", "set/../images", "/a//b/"])
@pytest.mark.parametrize(
    "name", ["q.jpg", "q", "sub/q.jpg", "./q.jpg", "q//r.jpg", "q/./r.jpg", "../q.jpg", "/q.jpg", ".q", "q ä.jpg", "q/"]
)
def test_paths_are_written_as_pathlib_does(tmp_path, folder, name):
    what = content()
    what["images"][1]["file_name"] = name
    index = CocoIndex.from_json(save(tmp_path, what), folder)
    assert ImageFiles(index, range(3))[1] == str(index.image_file(1)) == Labels(index, range(3))[1]["im_file"]


def test_sizes_are_pairs_of_integers():
    sizes = SizeList([(1, 2), (3, 4)])
    assert (len(sizes), sizes[1], sizes[-2], sizes[0:2]) == (2, (3, 4), (1, 2), [(1, 2), (3, 4)])
    assert {type(number) for number in sizes[0]} == {int}


def test_what_is_let_go_of_takes_no_room():
    kept = Kept()
    assert kept[5] is None
    kept[5] = "image"
    assert kept[5] == "image"
    kept[5] = None
    kept[6] = None
    assert (kept[5], len(kept)) == (None, 0)


# In the dataset


@pytest.mark.parametrize("rect", [True, False])
def test_images_are_sorted_as_ultralytics_sorts_them(tmp_path, rect):
    what = content()
    what["images"].reverse()  # from tall to wide
    save_images(tmp_path)
    dataset = CocoDataset(index_of(tmp_path, what), imgsz=32, hyp=QUIET, rect=rect, batch_size=2)
    expected = CONTENT["images"] if rect else what["images"]
    assert [file.rsplit("/", 1)[1] for file in dataset.im_files] == [image["file_name"] for image in expected]
    assert [label["im_file"] for label in dataset.labels] == list(dataset.im_files)
    assert [dataset[i]["im_file"] for i in range(3)] == list(dataset.im_files)
    assert [dataset.image_id_of(file) for file in dataset.im_files] == [image["id"] for image in expected]


def test_a_file_of_another_set_has_no_image_id(index):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET)
    for name in ("0.jpg", "bb.jpg", "z.jpg"):
        with pytest.raises(KeyError, match=f"{name} is no image of"):
            dataset.image_id_of(str(index.images_dir / name))


@pytest.mark.parametrize("cache", [None, "ram", "disk"])
def test_a_pickled_dataset_gives_the_same_items(index, cache):
    dataset = CocoDataset(index, imgsz=32, hyp=QUIET, cache=cache)
    again = pickle.loads(pickle.dumps(dataset))
    for i in range(3):
        a, b = dataset[i], again[i]
        assert a["im_file"] == b["im_file"]
        assert a["ori_shape"] == b["ori_shape"]
        assert a["resized_shape"] == b["resized_shape"]
        for key in ("img", "bboxes", "cls"):
            assert (a[key] == b[key]).all()


@pytest.mark.parametrize(("rect", "bytes_per_image"), [(False, 0), (True, 17)])
def test_the_pickle_of_a_dataset_does_not_hold_its_labels(tmp_path, monkeypatch, rect, bytes_per_image):
    monkeypatch.setenv("SWIN_YOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "CACHED_FROM", 0)
    monkeypatch.setattr(CocoIndex, "check_files", lambda self: None)
    images = 3000
    file = write_coco(tmp_path / "set.json", Scale(images, 20 * images, polygons=False))
    index = CocoIndex.from_json(file, tmp_path / "images")
    dataset = CocoDataset(index, imgsz=32, augment=True, hyp=QUIET, rect=rect)
    assert len(pickle.dumps(dataset)) < 8000 + bytes_per_image * images
