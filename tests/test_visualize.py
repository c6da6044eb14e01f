import re

import cv2
import numpy as np
import pytest
import torch
from clips import write_pictures, write_video
from small_detectors import CONV_ONLY, SWIN_BACKBONE, detector, write_training_checkpoint

from swin_yolo.engine.attention_maps import attention_weights, bias_by_offset, recorded_inputs
from swin_yolo.engine.model import load_model
from swin_yolo.engine.network_image import letterboxed
from swin_yolo.engine.visualize import swin_blocks, view_row, visualize
from swin_yolo.errors import InputError
from swin_yolo.report.window_views import RowView

C3STR_AT_P2 = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 2, "C3STR", [16]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_training_checkpoint(tmp_path_factory.mktemp("weights") / "w.pt", detector())


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """48 x 64 pixels, at 64 px a map of 16 x 16 tokens of 4 px, with grey above and below."""
    return write_pictures(tmp_path_factory.mktemp("in"), 1)[0]


@pytest.fixture
def views(monkeypatch) -> list[RowView]:
    """What is drawn, instead of drawing it."""
    seen: list[RowView] = []
    monkeypatch.setattr("swin_yolo.engine.visualize.plot_row", lambda view, file: seen.append(view))
    return seen


def test_a_picture_is_written_for_each_row_that_has_swin_blocks(weights, picture, tmp_path):
    done = visualize(weights, picture, save_dir=tmp_path / "exp", imgsz=64, device="cpu")
    assert done.pictures == {3: tmp_path / "exp" / "row3.png"} and done.at == (32, 24)
    assert [file.name for file in (tmp_path / "exp").iterdir()] == ["row3.png"]
    assert cv2.imread(str(done.pictures[3])).shape[1] > 1400


def test_a_row_is_shown_with_what_its_blocks_were_given(weights, picture, views, tmp_path):
    visualize(weights, picture, save_dir=tmp_path, at=(63, 0), imgsz=64, device="cpu")
    (view,) = views
    model = load_model(weights)
    image = letterboxed(cv2.imread(str(picture)), imgsz=64, stride=32)
    blocks = swin_blocks(model.model[3])
    with torch.no_grad(), recorded_inputs(blocks) as inputs:
        model(image.tensor(torch.device("cpu")))
    assert (view.number, view.layer, view.stride, view.token) == (3, "SwinStage", 4, (2, 15))
    assert (view.image_name, view.at) == (picture.name, (63, 0))
    assert np.array_equal(view.network_rgb, image.rgb)
    assert [block.shift_size for block in view.blocks] == [0, 2]
    for block, layer, given in zip(view.blocks, blocks, inputs, strict=True):
        weights_of_all = attention_weights(layer.attn, given.windows, given.mask)  # nW nH N N
        assert np.allclose(block.attention, weights_of_all[block.window, :, block.token], atol=1e-6)
        assert block.layout.places[block.window, block.token].tolist() == [2, 15]
        assert np.array_equal(block.bias, bias_by_offset(layer.attn).numpy())
        assert (block.mask is None) == (given.mask is None) and np.array_equal(block.mask, given.mask)
    assert view.receptive_field.shape == (64, 64)
    assert view.receptive_field[8:12, 60:64].max() > 10 * view.receptive_field[48:, :16].max()


@pytest.mark.parametrize("hw", [(48, 64), (64, 48), (200, 90), (33, 61)], ids=str)
@pytest.mark.parametrize("yaml", [SWIN_BACKBONE, C3STR_AT_P2], ids=["SwinStage", "C3STR"])
def test_the_token_and_its_windows_hold_the_pixel(yaml, hw):
    model = detector(yaml)
    numbers = [i for i, layer in enumerate(model.model) if swin_blocks(layer)]
    rng = np.random.default_rng(0)
    for at in [(0, 0), (hw[1] - 1, hw[0] - 1), (int(rng.integers(hw[1])), int(rng.integers(hw[0])))]:
        image_bgr = np.zeros((*hw, 3), np.uint8)
        cv2.rectangle(image_bgr, (at[0] - 2, at[1] - 2), (at[0] + 2, at[1] + 2), (255, 255, 255), -1)
        image = letterboxed(image_bgr, imgsz=128, stride=32)
        for number in numbers:
            view = view_row(model, number, image, at, image_name="a.png")
            row, column = (place * view.stride for place in view.token)
            under = view.network_rgb[row : row + view.stride, column : column + view.stride]
            assert under.max() > 200, (number, at)
            for block in view.blocks:
                piece = block.layout.pieces(block.window)[int(block.layout.regions[block.window, block.token])]
                assert piece.top <= view.token[0] < piece.bottom and piece.left <= view.token[1] < piece.right


def test_the_middle_is_shown_unless_a_pixel_is_chosen(weights, picture, views, tmp_path):
    assert visualize(weights, picture, save_dir=tmp_path, imgsz=64, device="cpu").at == (32, 24)
    assert visualize(weights, picture, save_dir=tmp_path, at=(0, 0), imgsz=64, device="cpu").at == (0, 0)
    assert [view.token for view in views] == [(8, 8), (2, 0)]


def test_rows_chosen_are_those_drawn(picture, views, tmp_path):
    weights = write_training_checkpoint(tmp_path / "w.pt", detector(SWIN_BACKBONE))
    assert list(visualize(weights, picture, save_dir=tmp_path, imgsz=64, device="cpu").pictures) == [1, 3, 5, 7]
    done = visualize(weights, picture, save_dir=tmp_path, rows=[7, 3], imgsz=64, device="cpu")
    assert list(done.pictures) == [3, 7] and [view.number for view in views[4:]] == [3, 7]


def test_sides_of_an_image_can_be_given_both(weights, picture, views, tmp_path):
    visualize(weights, picture, save_dir=tmp_path, imgsz=(32, 96), device="cpu")
    assert views[0].network_rgb.shape == (32, 64, 3)


def test_a_pixel_can_be_clicked_on(weights, picture, views, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr("swin_yolo.engine.visualize.check_screen", lambda flag, fix: checked.append(flag))
    monkeypatch.setattr("swin_yolo.engine.visualize.clicked_pixel", lambda image_bgr: (5, image_bgr.shape[0] - 1))
    assert visualize(weights, picture, save_dir=tmp_path, click=True, imgsz=64, device="cpu").at == (5, 47)
    assert views[0].at == (5, 47) and checked == ["--click"]


def test_without_a_screen_a_click_is_refused(weights, picture, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match=r"--click: there is no screen here .*; choose the pixel by --at X,Y"):
        visualize(weights, picture, save_dir=tmp_path / "exp", click=True, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"at": (64, 0)}, r"--at 64,0: expected a pixel of .*, x from 0 to 63 and y from 0 to 47"),
        ({"at": (0, 48)}, r"--at 0,48: expected a pixel of"),
        ({"at": (-1, 5)}, r"--at -1,5: expected a pixel of"),
        ({"rows": [3, 1, 99]}, r"--rows 1 99: no Swin blocks there; the rows that have some are 3$"),
        ({"imgsz": 100}, r"--imgsz 100: expected a multiple of the model's stride 32"),
        ({"weights": "none.pt"}, r"--weights none.pt: no such file"),
        ({"weights": "best.onnx"}, r"--weights best.onnx: expected a checkpoint, .pt or .safetensors, got an exported"),
        ({"weights": "w_openvino_model"}, r"--weights w_openvino_model: expected a checkpoint"),
        ({"source": "none.png"}, r"--source none.png: no such file"),
        ({"device": "7"}, r"--device 7: expected cpu"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named_and_leaves_no_folder(weights, picture, tmp_path, arguments, expected):
    given = {"weights": weights, "source": picture, "imgsz": 64, "device": "cpu"} | arguments
    with pytest.raises(InputError, match=expected):
        visualize(given.pop("weights"), given.pop("source"), save_dir=tmp_path / "exp", **given)
    assert not (tmp_path / "exp").exists()


def test_a_model_without_swin_blocks_is_named_with_the_fix(picture, tmp_path):
    weights = write_training_checkpoint(tmp_path / "w.pt", detector(CONV_ONLY))
    with pytest.raises(InputError, match=r"no row of this model has Swin blocks.*--cfg yolov5n-swin.yaml"):
        visualize(weights, picture, save_dir=tmp_path / "exp", imgsz=64, device="cpu")


def test_what_is_not_one_image_is_refused(weights, picture, tmp_path):
    video, broken = write_video(tmp_path / "a.avi", 2), tmp_path / "b.png"
    broken.write_bytes(picture.read_bytes()[:60])
    write_pictures(tmp_path / "in", 2)
    for source, expected in (
        (video, "expected one image, got a video"),
        (tmp_path / "in", "expected one image, got 2 images and videos"),
        (broken, "cannot be decoded as an image"),
        ("https://host/a.jpg", "expected one image, got a stream"),
    ):
        with pytest.raises(InputError, match=f"^--source {re.escape(str(source))}: {expected}"):
            visualize(weights, source, save_dir=tmp_path / "exp", device="cpu")
