import random

import numpy as np
import pytest
import torch
from ultralytics.data.augment import Format

from swin_yolo.data.image_tensor import PlanarFormat


def formatted(kind, image, bgr):
    random.seed(1)
    return kind(bgr=bgr)._format_img(image), random.random()


def test_colours_become_planes_in_the_order_red_green_blue():
    tensor = PlanarFormat()._format_img(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert tensor.tolist() == [[[3, 6]], [[2, 5]], [[1, 4]]]
    assert tensor.is_contiguous()


@pytest.mark.parametrize("bgr", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(5, 7, 3), (64, 33, 3), (5, 7, 1), (5, 7, 4), (5, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_it_is_what_ultralytics_gives_and_takes_as_many_random_numbers(bgr, shape, dtype):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    for view in (image, image[::-1], image[:, ::-1], image[1:, 1:]):
        if view.size:
            (ours, drawn), (theirs, drawn_by_theirs) = formatted(PlanarFormat, view, bgr), formatted(Format, view, bgr)
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
            assert drawn == drawn_by_theirs
