from pathlib import Path

import pytest
from coco_files import SHARED, needs_bccd, save

import swin_yolo.data.demo as demo_module
import swin_yolo.data.folders as folders_module
from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.config import load_config
from swin_yolo.errors import InputError
from swin_yolo.paths import shipped_dir

SPLIT = "{images: images, annotations: a.json}"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, without the user's data folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("SWIN_YOLO_DATA", raising=False)


def yaml_in(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "set.yaml").write_text(text)
    return folder / "set.yaml"


# Dataset YAMLs


def test_a_yaml_gives_the_splits_under_its_path(tmp_path):
    (tmp_path / "d" / "pictures").mkdir(parents=True)
    text = f"path: pictures\nsource: here\nlicence: mine\ntrain: {SPLIT}\nval: {{images: v, annotations: v/b.json}}\n"
    config = load_config(yaml_in(tmp_path / "d", text))
    root = tmp_path / "d" / "pictures"
    assert config.source == tmp_path / "d" / "set.yaml"
    assert list(config.splits) == ["train", "val"]
    assert (config.split("train").images, config.split("train").annotations) == (root / "images", root / "a.json")
    assert (config.split("val").images, config.split("val").annotations) == (root / "v", root / "v" / "b.json")


def test_without_path_the_splits_are_beside_the_yaml(tmp_path):
    assert load_config(str(yaml_in(tmp_path, f"train: {SPLIT}"))).split("train").images == tmp_path / "images"


def test_path_is_looked_for_beside_the_yaml_then_here_then_in_the_data_folder(tmp_path, monkeypatch):
    file = yaml_in(tmp_path / "yaml", f"path: pics\ntrain: {SPLIT}")
    monkeypatch.setenv("SWIN_YOLO_DATA", str(tmp_path / "data"))
    for place in (tmp_path / "data" / "pics", Path("pics"), tmp_path / "yaml" / "pics"):  # last wins first
        place.mkdir(parents=True)
        assert load_config(file).split("train").images == place / "images"


def test_without_a_data_folder_datasets_is_looked_in(tmp_path):
    file = yaml_in(tmp_path / "yaml", f"path: pics\ntrain: {SPLIT}")
    Path("datasets/pics").mkdir(parents=True)
    assert load_config(file).split("train").images == Path("datasets/pics/images")


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "far").mkdir()
    file = yaml_in(tmp_path / "yaml", f"path: {tmp_path / 'far'}\ntrain: {SPLIT}")
    assert load_config(file).split("train").images == tmp_path / "far" / "images"


def test_data_that_is_nowhere_names_every_place_and_the_source(tmp_path):
    file = yaml_in(tmp_path / "yaml", f"path: pics\nsource: https://example.org/pics\ntrain: {SPLIT}")
    with pytest.raises(InputError) as error:
        load_config(file)
    for word in (file, tmp_path / "yaml" / "pics", tmp_path / "cwd" / "pics", tmp_path / "cwd" / "datasets" / "pics"):
        assert str(word) in str(error.value)
    assert "https://example.org/pics" in str(error.value)
    assert "SWIN_YOLO_DATA" in str(error.value)


def test_a_split_that_is_not_there_lists_those_that_are(tmp_path):
    config = load_config(yaml_in(tmp_path, f"train: {SPLIT}\nval: {SPLIT}"))
    with pytest.raises(InputError, match=r"set\.yaml: has no split 'test'; it has train, val"):
        config.split("test")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"trian: {SPLIT}", ["unknown keys trian", "known are path, train"]),
        (f"train: {SPLIT}\nnames: [a]\nnc: 1", ["unknown keys names, nc", "JSON's categories"]),
        ("path: .", ["at least one of the splits train, val, test"]),
        ("train: images/train", ["train: expected {images: FOLDER, annotations: FILE.json}", "'images/train'"]),
        ("train: {images: a}", ["train: expected", "annotations"]),
        ("train: {images: a, annotations: b, extra: c}", ["train: expected"]),
        ("train: {images: a, annotations: 3}", ["train: expected"]),
        (f"path: [a]\ntrain: {SPLIT}", ["path: expected the name of a folder", "['a']"]),
        ("just text", ["expected a dataset YAML with the keys", "just text"]),
        ("", ["expected a dataset YAML", "None"]),
        ("train: {images: [", ["cannot be read as a dataset YAML", "line 1"]),
        (f"generate: noise\ntrain: {SPLIT}", ["generate: expected 'demo'", "'noise'"]),
        (f"generate: demo\npath: x\ntrain: {SPLIT}", ["generate: expected 'demo' and no 'path'"]),
        (f"generate: demo\nseed: -1\ntrain: {SPLIT}", ["seed: expected a whole number", "-1"]),
        (f"generate: demo\nseed: yes\ntrain: {SPLIT}", ["seed: expected a whole number", "True"]),
        (f"seed: 3\ntrain: {SPLIT}", ["'seed' belongs to 'generate: demo'"]),
    ],
)
def test_a_wrong_yaml_is_one_line_that_says_what_was_expected(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        load_config(yaml_in(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'set.yaml'}: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(
        InputError, match=r"none\.yaml: no dataset YAML .* aerial_held_out\.yaml, bccd\.yaml, coco\.yaml"
    ):
        load_config("none.yaml")


# Shipped YAMLs


def test_every_shipped_yaml_says_source_and_licence_and_is_understood(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "IMAGES", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setenv("SWIN_YOLO_DATA", str(tmp_path))
    folders = {
        "bccd": "bccd",
        "coco": "coco",
        "aerial_cars": "aerial_cars_tiles",
        "aerial_held_out": "aerial_cars_tiles",
        "visdrone": "VisDrone",
        "demo": ".",
    }
    assert {file.stem for file in shipped_dir("data").glob("*.yaml")} == set(folders)
    for name, folder in folders.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        text = (shipped_dir("data") / f"{name}.yaml").read_text()
        assert "\nsource: " in text
        assert "\nlicence: " in text
        assert load_config(name).splits == load_config(f"{name}.yaml").splits
        assert {"train", "val"} <= set(load_config(name).splits)


def test_a_file_here_goes_before_a_shipped_name():
    Path("coco.yaml").write_text(f"train: {SPLIT}")
    assert list(load_config("coco.yaml").splits) == ["train"]


@needs_bccd
def test_the_blood_cells_are_read_as_published(monkeypatch):
    monkeypatch.setenv("SWIN_YOLO_DATA", str(SHARED))
    config = load_config("bccd")
    counts = {}
    for name, split in config.splits.items():
        index = CocoIndex.from_json(split.annotations, split.images)
        index.check_images()
        assert index.names == ("RBC", "WBC", "Platelets")
        counts[name] = (len(index), len(index.boxes_xywh))
    assert counts == {"train": (205, 2804), "val": (87, 1137), "test": (72, 945)}


# Folders


def test_a_roboflow_export_is_taken_as_it_is(tmp_path):
    for split in ("train", "valid", "test"):
        save(tmp_path / "r" / split, name="_annotations.coco.json")
    config = load_config(tmp_path / "r")
    assert set(config.splits) == {"train", "val", "test"}
    assert config.split("val").images == tmp_path / "r" / "valid"
    assert config.split("val").annotations == tmp_path / "r" / "valid" / "_annotations.coco.json"


@pytest.mark.parametrize("images", ["train2017", "images/train2017", "train", "images/train", "images"])
def test_a_coco_folder_is_taken_wherever_its_images_are(tmp_path, images):
    save(tmp_path / "annotations", name="instances_train2017.json")
    save(tmp_path / "annotations", name="captions_train2017.json")
    (tmp_path / images).mkdir(parents=True)
    config = load_config(tmp_path)
    assert list(config.splits) == ["train"]
    assert config.split("train").images == tmp_path / images


@pytest.mark.parametrize("images", ["images/default", "images"])
def test_a_cvat_export_of_one_split_is_train_and_val_and_says_so(tmp_path, monkeypatch, images):
    said = []
    monkeypatch.setattr(folders_module.LOGGER, "warning", said.append)
    save(tmp_path / "annotations", name="instances_default.json")
    (tmp_path / images).mkdir(parents=True)
    config = load_config(tmp_path)
    assert set(config.splits) == {"train", "val"}
    assert config.split("val").images == tmp_path / images
    assert len(said) == 1
    assert "used as train and as val" in said[0]


def test_a_folder_in_no_known_layout_says_which_are_known(tmp_path):
    with pytest.raises(InputError, match=r"_annotations\.coco\.json \(Roboflow\) or annotations/instances_\*\.json"):
        load_config(tmp_path)


def test_annotations_without_a_folder_of_images_say_where_was_looked(tmp_path):
    save(tmp_path / "annotations", name="instances_val2017.json")
    with pytest.raises(InputError, match=r"instances_val2017\.json, looked for .*val2017, images.*images"):
        load_config(tmp_path)


def test_two_files_for_one_split_are_not_guessed_between(tmp_path):
    (tmp_path / "images").mkdir()
    for year in (2014, 2017):
        save(tmp_path / "annotations", name=f"instances_train{year}.json")
    with pytest.raises(InputError, match=r"instances_train2014\.json and instances_train2017\.json are both a 'train'"):
        load_config(tmp_path)
