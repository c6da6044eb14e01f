import cv2
import numpy as np
import pytest
import torch
from swin_oracles import by_size
from ultralytics.utils.ops import scale_boxes

from swin_yolo.engine.network_image import letterboxed


@pytest.mark.parametrize("imgsz", [320, (192, 320)], ids=str)
@pytest.mark.parametrize("hw", [(240, 320), (320, 240), (100, 333), (333, 100), (64, 64), (711, 1000)], ids=by_size)
def test_a_pixel_is_found_where_it_was_letterboxed_to(hw, imgsz):
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = int(rng.integers(10, hw[1] - 10)), int(rng.integers(10, hw[0] - 10))
        image_bgr = np.zeros((*hw, 3), np.uint8)
        cv2.circle(image_bgr, (x, y), 9, (0, 0, 255), -1)
        image = letterboxed(image_bgr, imgsz=imgsz, stride=32)
        rows, columns = np.nonzero((image.rgb[..., 0] > 160) & (image.rgb[..., 1] < 80))
        middle = columns.mean() + 0.5, rows.mean() + 0.5
        assert image.place(x, y) == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("hw", [(240, 320), (100, 333), (333, 100)], ids=by_size)
def test_it_is_the_way_back_that_boxes_go(hw):
    image = letterboxed(np.zeros((*hw, 3), np.uint8), imgsz=320, stride=32)
    x, y = image.place(30, 40)
    back = scale_boxes(image.rgb.shape[:2], torch.tensor([[x, y, x, y]]), hw)
    assert back[0, :2].tolist() == pytest.approx([30.5, 40.5], abs=1e-3)


def test_sides_are_multiples_of_the_stride_and_what_is_added_is_grey():
    image = letterboxed(np.full((100, 333, 3), (0, 0, 255), np.uint8), imgsz=320, stride=32)
    assert image.rgb.shape == (96, 320, 3)
    assert (image.rgb[image.top : image.top + 96] == (255, 0, 0)).all()
    assert letterboxed(np.zeros((100, 300, 3), np.uint8), imgsz=320, stride=32).rgb[0, 0].tolist() == [114] * 3
    assert letterboxed(np.zeros((100, 300, 3), np.uint8), imgsz=320, stride=64).rgb.shape == (128, 320, 3)


def test_the_network_gets_rgb_from_0_to_1():
    image = letterboxed(np.full((64, 64, 3), (0, 51, 255), np.uint8), imgsz=64, stride=32)
    tensor = image.tensor(torch.device("cpu"))
    assert tensor.shape == (1, 3, 64, 64) and tensor.dtype == torch.float32
    assert tensor[0, :, 5, 5].tolist() == pytest.approx([1.0, 0.2, 0.0])
