import math
from copy import deepcopy

import pytest
import torch
from anchor_models import P3_TO_P5, head_of, maps_of
from torch import Tensor
from ultralytics.utils.nms import non_max_suppression


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# The maths


@pytest.mark.parametrize(
    ("row", "column", "probabilities", "expected"),
    [
        # (2p - 0.5 + cell) * stride and (2p)^2 * anchor, for the anchor of 30 x 61 pixels at stride 16
        (0, 0, (0.5, 0.5, 0.5, 0.5), (8, 8, 30, 61)),
        (2, 1, (0.5, 0.5, 0.5, 0.5), (24, 40, 30, 61)),
        (0, 0, (0.75, 0.25, 0.75, 0.25), (16, 0, 67.5, 15.25)),
        (1, 3, (0.1, 0.9, 0.25, 0.75), (43.2, 36.8, 7.5, 137.25)),
    ],
)
def test_a_box_is_decoded_around_its_cell_from_its_anchor(row, column, probabilities, expected):
    head = head_of()
    levels = [torch.full((1, 3, n, n, 8), -9.0) for n in (8, 4, 2)]
    levels[1][0, 0, row, column] = torch.tensor([logit(p) for p in (*probabilities, 0.8, 0.1, 0.2, 0.3)])
    decoded = head.decode(levels)
    assert decoded.shape == (1, 3 * (64 + 16 + 4), 8)
    assert decoded[0, 3 * 64 + 4 * row + column].tolist() == pytest.approx([*expected, 0.8, 0.1, 0.2, 0.3], abs=1e-4)


def test_channels_go_anchor_by_anchor_and_predictions_level_anchor_row_column():
    head = head_of(nc=1)
    for conv in head.m:
        torch.nn.init.zeros_(conv.weight)
        conv.bias.data = torch.arange(18.0)
    levels = head(maps_of(head, (64, 96)))["levels"]
    assert [level.shape for level in levels] == [(1, 3, 8, 12, 6), (1, 3, 4, 6, 6), (1, 3, 2, 3, 6)]
    for level in levels:
        assert torch.equal(level[0, :, -1, -1], torch.arange(18.0).view(3, 6))
    numbered = [level.zero_() for level in levels]
    for i, level in enumerate(numbered):
        level[..., 4] = torch.arange(level[..., 4].numel()).view(level.shape[:4]) / 100 + i
    objectness = head.decode(numbered)[0, :, 4]
    assert (objectness[1:] - objectness[:-1] > 0).sum() == len(objectness) - 1 - 1  # falls once: 2.87 to 1.0
    first = [(0, 0), (3 * 96, 0), (3 * (96 + 24), 0)]
    assert [objectness[i].item() for i, _ in first] == pytest.approx([1 / (1 + math.exp(-i)) for i in range(3)])


def test_priors_and_anchors_at_the_start_are_yolov5_s():
    head = head_of(nc=80)
    assert head.anchors[0].tolist() == [[1.25, 1.625], [2, 3.75], [4.125, 2.875]]
    assert head.anchors[2, 2].tolist() == [373 / 32, 326 / 32]
    before = [conv.bias.clone().view(3, 85) for conv in head.m]
    head.bias_init()
    for conv, old, stride in zip(head.m, before, P3_TO_P5, strict=True):
        added = conv.bias.view(3, 85) - old
        assert added[:, :4].abs().max() == 0
        assert added[:, 4].tolist() == pytest.approx([math.log(8 / (640 / stride) ** 2)] * 3, abs=1e-5)
        assert added[:, 5:].flatten().tolist() == pytest.approx([math.log(0.6 / 79.00001)] * 240, abs=1e-5)
    assert head.anchors[0, 0].tolist() == [1.25, 1.625]


@pytest.mark.parametrize("hw", [(32, 32), (64, 160), (96, 32)])
def test_ultralytics_gets_boxes_and_objectness_times_class_scores(hw):
    head = head_of().eval()
    maps = maps_of(head, hw, batch=2)
    with torch.inference_mode():
        y, preds = head(maps)
        own = head.decode(preds["levels"])
    assert y.shape == (2, 7, sum(3 * m.shape[2] * m.shape[3] for m in maps)) and preds["feats"] is maps
    assert torch.equal(y[:, :4], own[..., :4].mT)
    assert torch.equal(y[:, 4:], (own[..., 4:5] * own[..., 5:]).mT)
    singles = torch.cat([head([m[i : i + 1] for m in maps])[0] for i in range(2)])
    torch.testing.assert_close(singles, y)


def test_an_exported_model_gives_corners_if_asked():
    head = head_of().eval()
    maps = maps_of(head, (64, 64))
    head.export = True
    centred = head(maps)
    head.xyxy = True
    corners = head(maps)
    torch.testing.assert_close(corners[:, :2], centred[:, :2] - centred[:, 2:4] / 2)
    torch.testing.assert_close(corners[:, 2:4], centred[:, :2] + centred[:, 2:4] / 2)
    assert torch.equal(corners[:, 4:], centred[:, 4:])


def plain_nms(y: Tensor, conf: float, iou: float) -> list[list[float]]:
    """YOLOv5's rule for one image, best class only: take the best, drop what overlaps it in its class, repeat."""
    scores, classes = y[4:].max(0)
    corners = torch.cat((y[:2] - y[2:4] / 2, y[:2] + y[2:4] / 2)).T
    rows = torch.cat((corners, scores[:, None], classes[:, None].float()), 1).tolist()
    kept: list[list[float]] = []
    for row in sorted((row for row in rows if row[4] > conf), key=lambda row: -row[4]):
        if all(row[5] != better[5] or overlap(row, better) <= iou for better in kept):
            kept.append(row)
    return kept


def overlap(a: list[float], b: list[float]) -> float:
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - inter)


def test_nms_of_ultralytics_on_it_is_the_plain_one():
    head = head_of().eval()
    for conv in head.m:
        conv.bias.data.zero_()
    with torch.inference_mode():
        y = head(maps_of(head, (64, 96)))[0]
    expected = plain_nms(y[0], 0.25, 0.2)
    candidates = int((y[0, 4:].amax(0) > 0.25).sum())
    assert 20 < len(expected) < candidates * 0.8 < candidates < y.shape[2]
    torch.testing.assert_close(non_max_suppression(y, 0.25, 0.2)[0], torch.tensor(expected), rtol=0, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(dtype):
    head = head_of().eval()
    maps = maps_of(head, (64, 96))
    with torch.inference_mode():
        expected = head(maps)[0]
        model = deepcopy(head).to(dtype)
        model.stride = model.stride.to(dtype)  # a whole model does this itself
        y = model([m.to(dtype) for m in maps])[0]
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.5)


def test_autocast_counts_more_cells_than_its_type_can():
    head = head_of((8, 16, 32), ch=1).eval()
    maps = maps_of(head, (32, 8 * 600))
    with torch.inference_mode():
        expected = head(maps)[0]
        with torch.autocast("cpu", torch.bfloat16):
            y = head(maps)[0]
    assert (y[:, 0] - expected[:, 0]).abs().max() < 0.5 < (expected[:, 0].bfloat16() - expected[:, 0]).abs().max()
