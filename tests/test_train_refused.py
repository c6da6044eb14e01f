import pytest
import torch
from tiny import (
    ARGUMENTS,
    make_tiny,
    tiny_set,
)

from swin_yolo.engine.model import build_model
from swin_yolo.engine.train import train
from swin_yolo.errors import InputError

CFG = "yolov5n-swin.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"cfg": "yolov5n-swan.yaml"}, r"--cfg yolov5n-swan.yaml: no such model YAML"),
        ({"data": "no/such/set"}, r"no/such/set: no dataset YAML or folder"),
        ({"weights": "none.pt"}, r"--weights none.pt: no such file"),
        ({"hyp": "none.yaml"}, r"--hyp none.yaml: expected a YAML file"),
        ({"device": "99"}, r"--device 99: expected cpu"),
        ({"imgsz": 100}, r"--imgsz 100: expected a multiple of the model's stride 32"),
        ({"freeze": [3, 25]}, r"--freeze 25: expected a row from 0 to 24"),
        ({"layer_decay": 0.5}, r"--layer-decay 0.5: expected --weights too"),
        (
            {"layer_decay": 0.5, "weights": "CONV"},
            r"--layer-decay 0.5: expected Swin rows in .* that .* fills, got none",
        ),
        ({"layer_decay": 0.0}, r"--layer-decay 0: expected a number above 0"),
        ({"cfg": "yolov5n-c3str-p6.yaml", "head": "anchor"}, r"--cfg yolov5n-c3str-p6.yaml: no such model YAML"),
        ({"freeze": list(range(25))}, r"--freeze 0 1 .* 24: no parameters are left to train"),
    ],
)
def test_what_cannot_be_used_is_named_and_leaves_no_folder(data, tmp_path, tmp_path_factory, arguments, expected):
    arguments = {"cfg": CFG, "data": data, **ARGUMENTS, **arguments}
    if arguments.get("weights") == "CONV":  # a detector without Swin rows
        arguments["weights"] = tmp_path_factory.mktemp("weights") / "vanilla.pt"
        torch.save({"model": build_model("yolov5n.yaml", nc=2)}, arguments["weights"])
    with pytest.raises(InputError, match=expected):
        train(save_dir=tmp_path / "runs" / "exp", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_missing_is_named_and_leaves_no_folder(tmp_path):
    data = make_tiny(tmp_path / "set")
    (tmp_path / "set" / "val" / "val_3.png").unlink()
    with pytest.raises(InputError, match=r"val.json: 1 of 6 images are not in .*val: val_3.png"):
        train(CFG, data, save_dir=tmp_path / "exp", **ARGUMENTS)
    assert [f.name for f in tmp_path.iterdir()] == ["set"]


def test_wrong_input_leaves_a_folder_that_was_there(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    broken = make_tiny(tmp_path / "set")
    (tmp_path / "set" / "train" / "train_0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"train_0.png: cannot be decoded"):
        train(CFG, broken, save_dir=tmp_path, **ARGUMENTS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
