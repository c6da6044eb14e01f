import pytest

from swin_yolo.engine.freeze import frozen_modules
from swin_yolo.engine.model import build_model
from swin_yolo.errors import InputError


@pytest.fixture(scope="module")
def model():
    return build_model("yolov5n-c3str.yaml", nc=2)


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ([], []),
        (["3"], ["0", "1", "2"]),  # YOLOv5's way
        ([0], []),
        ([0, 2], ["0", "2"]),
        (["3", "0.conv"], ["3", "0.conv"]),
        (["model.8.m.blocks.1.", "8"], ["8.m.blocks.1", "8"]),
        (["C3STR"], ["8"]),
        (["SwinStage"], ["8.m"]),
        (["WindowAttention"], ["8.m.blocks.0.attn", "8.m.blocks.1.attn"]),
        (["backbone"], [str(row) for row in range(10)]),
        (["0", "C3STR", "0"], ["0", "8"]),
    ],
)
def test_what_is_named_is_found(model, freeze, expected):
    assert frozen_modules(freeze, model) == expected


@pytest.mark.parametrize("wrong", ["25", "-1", "PatchMerging", "neck", "8.n", ""])
def test_what_names_nothing_is_an_error(model, wrong):
    with pytest.raises(InputError, match=rf"^--freeze {wrong}: expected a row from 0 to 24, backbone, a layer "):
        frozen_modules(["0", wrong], model)


def test_something_is_left_to_train(model):
    rows = list(range(25))
    with pytest.raises(InputError, match=r"--freeze 0 1 .* 24: no parameters are left to train"):
        frozen_modules(rows, model)
    assert frozen_modules(rows[:-1], model)
