import json
import os
import threading

import numpy as np
import platformdirs
import pytest

import swin_yolo.data.demo as demo_module
import swin_yolo.data.demo_scene as scene_module
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.config import load_config
from swin_yolo.data.demo import demo_dir, make_demo
from swin_yolo.data.demo_scene import draw_scene
from swin_yolo.data.demo_shapes import SHAPES, draw_sprite
from swin_yolo.errors import InputError

FEW = {"train": 28, "val": 3, "test": 2}  # 28: one of them has a crowd, one is empty


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(demo_module, "IMAGES", {"train": 3, "val": 1, "test": 1})


@pytest.fixture(scope="module")
def set_of_few(tmp_path_factory):
    """A set that is only read."""
    patch = pytest.MonkeyPatch()
    patch.setattr(demo_module, "IMAGES", FEW)
    root = make_demo(tmp_path_factory.mktemp("demo") / "set")
    patch.undo()
    return root


def manifest(root):
    return json.loads((root / "manifest.json").read_text())


def split_of(root, name):
    return CocoIndex.from_json(root / "annotations" / f"instances_{name}.json", root / "images" / name)


# What is in it


@pytest.mark.parametrize("name", FEW)
def test_every_split_is_sound_coco(set_of_few, name):
    index = split_of(set_of_few, name)
    index.check_images()
    assert len(index) == FEW[name]
    assert (index.dropped, index.clipped) == (0, 0)
    assert index.category_ids == (1, 3, 4, 7, 12)
    assert (index.areas <= index.boxes_xywh[:, 2] * index.boxes_xywh[:, 3]).all()


def test_it_has_an_empty_picture_a_crowd_and_pictures_of_several_shapes(set_of_few):
    index = split_of(set_of_few, "train")
    per_image = np.diff(index.box_offsets)
    assert (per_image == 0).sum() == 1
    assert index.iscrowd.sum() == 1
    assert len({tuple(size) for size in index.sizes_wh.tolist()}) >= 3
    assert 1.7 <= per_image.mean() <= 2.8


def test_things_are_mostly_medium_and_large_with_some_small(set_of_few):
    areas = np.concatenate([split_of(set_of_few, name).areas for name in FEW])
    small = (areas < 32**2).mean()
    assert 0.02 < small < 0.25


def test_splits_share_no_picture(set_of_few):
    sha256 = [value for name, value in manifest(set_of_few)["sha256"].items() if name.endswith(".jpg")]
    assert len(sha256) == sum(FEW.values()) == len(set(sha256))


@pytest.mark.parametrize("seed", range(6))
def test_a_box_is_tight_to_what_was_drawn(monkeypatch, seed):
    black = lambda width, height, rng: np.zeros((height, width, 3), np.float32)  # noqa: E731
    monkeypatch.setattr(scene_module, "_ground", black)
    monkeypatch.setattr(scene_module, "_expose", lambda image, rng: image)
    scene = draw_scene(np.random.default_rng(seed), kind="crowd" if seed == 0 else "things")
    boxes = np.array([thing.box_xywh for thing in scene.things])
    boxed = (*boxes[:, :2].min(0), *(boxes[:, :2] + boxes[:, 2:]).max(0))
    drawn_y, drawn_x = np.nonzero(scene.image.sum(2))
    found = (drawn_x.min(), drawn_y.min(), drawn_x.max() + 1, drawn_y.max() + 1)
    assert np.abs(np.subtract(found, boxed)).max() <= 2  # faint pixels of a thin tip are not in the mask
    assert sum(thing.area for thing in scene.things) == pytest.approx(len(drawn_x), rel=0.12)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_stays_inside_its_canvas_at_every_turn_and_size(shape):
    for side in (17, 60, 150):
        for seed in range(6):
            sprite = draw_sprite(shape, side, np.random.default_rng(seed))
            edge = np.r_[sprite.alpha[0], sprite.alpha[-1], sprite.alpha[:, 0], sprite.alpha[:, -1]]
            assert edge.max() == 0
            assert 0.15 < (sprite.alpha > 0.5).mean() < 0.8


# The same for the same seed


def test_the_same_seed_gives_the_same_files_and_another_seed_others(few, tmp_path):
    a, b, c = (make_demo(tmp_path / name, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert manifest(a) == manifest(b)
    pictures = [name for name in manifest(a)["sha256"] if name.endswith(".jpg")]
    assert not any(manifest(a)["sha256"][name] == manifest(c)["sha256"][name] for name in pictures)


# Made once, whole, and made again when damaged


def test_a_sound_set_is_not_made_again(few, tmp_path):
    root = make_demo(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make_demo(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("name", ["images/train/demo_0002.jpg", "annotations/instances_val.json"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_set_is_made_again(few, tmp_path, name, damage):
    root = make_demo(tmp_path / "set")
    sound = (root / name).read_bytes()
    if damage == "changed":
        (root / name).write_bytes(sound[:-1])
    else:
        (root / name).unlink()
    make_demo(root)
    assert (root / name).read_bytes() == sound
    assert os.listdir(tmp_path) == ["set"]


def test_a_set_of_an_older_version_is_made_again(few, tmp_path):
    root = make_demo(tmp_path / "set")
    (root / "manifest.json").write_text(json.dumps({**manifest(root), "version": 0}))
    make_demo(root)
    assert manifest(root)["version"] == demo_module.VERSION


def test_a_set_that_could_not_be_finished_is_not_there_at_all(few, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "_file_name", lambda i: f"{1 // (2 - i)}.jpg")  # fails at the third picture
    with pytest.raises(ZeroDivisionError):
        make_demo(tmp_path / "set")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_two_that_ask_at_once_both_get_a_whole_set(few, tmp_path, damaged):
    root = tmp_path / "set"
    if damaged:
        (make_demo(root) / "images" / "val" / "demo_0001.jpg").unlink()
    got = []
    threads = [threading.Thread(target=lambda: got.append(make_demo(root))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [root, root]
    assert (root / "images" / "val" / "demo_0001.jpg").is_file()
    assert os.listdir(tmp_path) == ["set"]


def test_a_folder_of_the_users_is_left_alone(few, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "holiday.jpg").write_text("mine")
    with pytest.raises(InputError, match=r"set: is there but is not a demo set .*remove it or choose another"):
        make_demo(tmp_path / "set")
    assert (tmp_path / "set" / "holiday.jpg").read_text() == "mine"


def test_a_set_of_another_seed_is_left_alone(few, tmp_path):
    make_demo(tmp_path / "set", seed=1)
    with pytest.raises(InputError, match="holds the demo set of seed 1, wanted seed 2"):
        make_demo(tmp_path / "set", seed=2)


def test_an_empty_folder_is_filled(few, tmp_path):
    (tmp_path / "set").mkdir()
    assert (make_demo(tmp_path / "set") / "manifest.json").is_file()


def test_a_place_that_cannot_be_written_is_named(few, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the demo set cannot be written there .*SWIN_YOLO_DATA"):
        make_demo(tmp_path / "file" / "set")


# Where it is kept


def test_it_is_kept_in_the_data_folder_or_else_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.delenv("SWIN_YOLO_DATA", raising=False)
    name = f"demo-v{demo_module.VERSION}-seed3"
    assert demo_dir(3) == tmp_path / "cache" / "swin_yolo" / name
    monkeypatch.setenv("SWIN_YOLO_DATA", str(tmp_path / "not there"))
    assert demo_dir(3) == tmp_path / "cache" / "swin_yolo" / name
    monkeypatch.setenv("SWIN_YOLO_DATA", str(tmp_path))
    assert demo_dir(3) == tmp_path / name


def test_the_shipped_yaml_makes_it_on_first_use(few, tmp_path, monkeypatch):
    monkeypatch.setenv("SWIN_YOLO_DATA", str(tmp_path))
    config = load_config("demo")
    for name in ("train", "val", "test"):
        split = config.split(name)
        CocoIndex.from_json(split.annotations, split.images).check_images()
    assert config.split("train").images == tmp_path / f"demo-v{demo_module.VERSION}-seed0" / "images" / "train"
