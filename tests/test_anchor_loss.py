import math

import pytest
import torch
from anchor_models import P3_TO_P5, head_of, maps_of, tiny_anchor_yaml
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import IterableSimpleNamespace

from swin_yolo.nn import AnchorLoss
from swin_yolo.nn.anchor_loss import match_targets

LN2 = math.log(2)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# Which cells and anchors answer, on a map of 4 rows and 6 columns


def matched(centre_xy: tuple[float, float], wh: tuple[float, float] = (2, 2), *, anchors=((2, 2),)) -> set[tuple]:
    """(anchor, column, row, offset x, offset y) of the matches of one box given in cells."""
    target = torch.tensor([[0, 5, centre_xy[0] / 6, centre_xy[1] / 4, wh[0] / 6, wh[1] / 4]], dtype=torch.float64)
    found = match_targets(target, torch.tensor(anchors, dtype=torch.float64), (4, 6))
    assert found.image.unique().tolist() in ([], [0]) and found.class_index.unique().tolist() in ([], [5])
    sizes = found.boxes_cxcywh[:, 2:]
    torch.testing.assert_close(sizes, torch.tensor([wh], dtype=torch.float64).expand_as(sizes))
    values = (found.anchor, found.column, found.row, *(found.boxes_cxcywh[:, i] for i in (0, 1)))
    return {tuple(round(v, 6) for v in row) for row in zip(*(v.tolist() for v in values), strict=True)}


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ((2.25, 1.25), {(2, 1, 0.25, 0.25), (1, 1, 1.25, 0.25), (2, 0, 0.25, 1.25)}),  # left and upper neighbour
        ((2.75, 1.75), {(2, 1, 0.75, 0.75), (3, 1, -0.25, 0.75), (2, 2, 0.75, -0.25)}),  # right and lower
        ((2.25, 1.75), {(2, 1, 0.25, 0.75), (1, 1, 1.25, 0.75), (2, 2, 0.25, -0.25)}),
        ((2.5, 1.5), {(2, 1, 0.5, 0.5)}),  # in the middle of a cell no neighbour is nearer
        ((0.25, 0.25), {(0, 0, 0.25, 0.25)}),  # outside there is none
        (
            (1.0, 1.5),
            {(1, 1, 0.0, 0.5)},
        ),  # on the first column's right edge: left is left out, right is the cell itself
        ((2.0, 1.5), {(2, 1, 0.0, 0.5), (1, 1, 1.0, 0.5)}),
        ((5.75, 3.75), {(5, 3, 0.75, 0.75)}),
        ((6.0, 4.0), {(5, 3, 1.0, 1.0), (5, 3, 1.0, 1.0)}),  # on the image's corner
        ((5.0, 3.0), {(5, 3, 0.0, 0.0), (4, 3, 1.0, 0.0), (5, 2, 0.0, 1.0)}),
    ],
    ids=str,
)
def test_the_cell_of_the_centre_and_its_nearest_neighbours_answer(centre, expected):
    assert matched(centre) == {(0, *cell) for cell in expected}


@pytest.mark.parametrize(
    ("wh", "fitting"),
    [((2, 2), {0, 1}), ((7.99, 2), {0, 1}), ((8, 2), {1}), ((2, 0.5), set()), ((2, 0.51), {0}), ((12, 12), {1})],
    ids=str,
)
def test_an_anchor_answers_if_no_side_is_four_times_the_other(wh, fitting):
    assert {match[0] for match in matched((2.5, 1.5), wh, anchors=((2, 2), (4, 4)))} == fitting


def test_matches_are_ordered_by_step_then_anchor_then_box():
    targets = torch.tensor([[0, 1, 0.4, 0.4, 0.3, 0.3], [1, 2, 0.4, 0.4, 0.3, 0.3]])
    found = match_targets(targets, torch.tensor([[3.0, 3.0], [2.0, 2.0]]), (10, 10))
    assert found.image.tolist() == [0, 1] * 10 and found.class_index.tolist() == [1, 2] * 10
    assert found.anchor.tolist() == [0, 0, 1, 1] * 5
    # 4.0: the step to the right comes to the cell itself once more, as in YOLOv5
    assert found.column.tolist() == [4] * 4 + [3] * 4 + [4] * 12
    assert found.row.tolist() == [4] * 8 + [3] * 4 + [4] * 8


def test_anchor_t_is_the_limit():
    target = torch.tensor([[0, 0, 0.5, 0.5, 0.6, 0.6]])
    for limit, count in ((3.0, 0), (3.1, 1)):
        assert len(match_targets(target, torch.tensor([[1.0, 1.0]]), (5, 5), anchor_t=limit).image) == count


# The parts of the loss, on one level of stride 8: a map of 4 x 4 cells, one anchor of 2 x 2 cells, logits as given


def one_level_loss(boxes: list, logits: list[float], *, nc: int = 2, batch: int = 1, **kwargs) -> tuple[float, dict]:
    """Loss of boxes (class, centre x, y, width, height in cells) where every cell has the same logits."""
    head = head_of((8,), nc=nc, anchors=[[16, 16]])
    level = torch.tensor(logits, dtype=torch.float64).expand(batch, 1, 4, 4, 5 + nc)
    rows = torch.tensor(boxes, dtype=torch.float64).view(-1, 5)
    targets = {"batch_idx": torch.zeros(len(rows)), "cls": rows[:, :1], "bboxes": rows[:, 1:] / 4}
    total, items = AnchorLoss(head, **kwargs)({"levels": [level]}, targets)
    assert total.item() == pytest.approx(batch * sum(items.values()).item()) and list(items) == NAMES
    return total.item(), {name: value.item() for name, value in items.items()}


NAMES = ["box_loss", "obj_loss", "cls_loss"]
MIDDLE = (0, 1.5, 2.5, 2, 2)  # class 0, in the middle of a cell, of the anchor's size: what logits of 0 predict


def test_a_perfect_box_costs_nothing_but_objectness_and_class():
    _, items = one_level_loss([MIDDLE], [0.0] * 7)
    assert items["box_loss"] == pytest.approx(0, abs=1e-7)
    assert items["obj_loss"] == pytest.approx(1.0 * 3 * 4.0 * LN2)  # gain, 3 / levels, balance of the first level
    assert items["cls_loss"] == pytest.approx(0.5 * 2 / 80 * 3 * LN2)


def test_without_boxes_only_objectness_is_left():
    _, items = one_level_loss([], [0, 0, 0, 0, -3.0, 0, 0])
    assert items == {"box_loss": 0, "obj_loss": pytest.approx(12 * softplus(-3)), "cls_loss": 0}


def test_a_box_of_another_shape_costs_its_complete_iou_which_objectness_learns():
    # 2 x 2 predicted where 2 x 1 is, same centre: IoU 1/2, no distance, aspect 4/pi^2 (atan 2 - atan 1)^2
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    ciou = 0.5 - v * v / (v + 0.5)
    _, items = one_level_loss([(0, 1.5, 2.5, 2, 1)], [0, 0, 0, 0, 2.0, 0, 0])
    assert items["box_loss"] == pytest.approx(0.05 * 3 * (1 - ciou), rel=1e-6)
    assert items["obj_loss"] == pytest.approx(12 * (15 * softplus(2) + softplus(2) - 2 * ciou) / 16, rel=1e-6)


def test_a_box_beside_costs_the_distance_of_centres():
    # sigmoid of x at 0.75 puts the centre at 1 cell, half a cell to the right: IoU 3/5, distance 1/4 over 2.5^2 + 2^2
    _, items = one_level_loss([MIDDLE], [math.log(3), 0, 0, 0, 0, 0, 0])
    assert items["box_loss"] == pytest.approx(0.15 * (1 - (0.6 - 0.25 / (2.5**2 + 2**2))), rel=1e-6)


def test_boxes_that_overlap_nothing_give_no_negative_objectness():
    _, items = one_level_loss([MIDDLE], [9.0, 9.0, -4.0, -4.0, 1.0, 0, 0])
    assert items["box_loss"] > 0.15 and items["obj_loss"] == pytest.approx(12 * softplus(1))


def test_classes_are_told_apart_each_for_itself():
    _, items = one_level_loss([(1, *MIDDLE[1:])], [0, 0, 0, 0, 0, 1.0, 3.0])
    assert items["cls_loss"] == pytest.approx(0.5 * 2 / 80 * 3 * (softplus(1) + softplus(-3)) / 2)


def test_a_single_class_costs_nothing():
    assert one_level_loss([MIDDLE], [0, 0, 0, 0, 0, -5.0], nc=1)[1]["cls_loss"] == 0


def test_arguments_are_the_factors_they_are_named_after():
    plain = one_level_loss([(0, 1.5, 2.5, 2, 1)], [0, 0, 0, 0, 0, 1.0, 3.0])[1]
    for name, argument, factor in (("box_loss", "anchor_box", 0.05), ("cls_loss", "anchor_cls", 0.5)):
        changed = one_level_loss([(0, 1.5, 2.5, 2, 1)], [0, 0, 0, 0, 0, 1.0, 3.0], **{argument: 7 * factor})[1]
        assert changed == {key: pytest.approx(value * (7 if key == name else 1)) for key, value in plain.items()}
    for kwargs, factor in (({"anchor_obj": 7.0}, 7), ({"imgsz": 320}, 1 / 4), ({"imgsz": 1280}, 4)):
        changed = one_level_loss([(0, 1.5, 2.5, 2, 1)], [0, 0, 0, 0, 0, 1.0, 3.0], **kwargs)[1]
        assert changed == {key: pytest.approx(v * (factor if key == "obj_loss" else 1)) for key, v in plain.items()}
    assert one_level_loss([MIDDLE], [0.0] * 7, anchor_t=1.0)[1]["cls_loss"] == 0


def test_smoothed_and_weighted_classes():
    logits = [0, 0, 0, 0, 0, 1.0, 3.0]
    _, items = one_level_loss([MIDDLE], logits, label_smoothing=0.2)
    expected = (softplus(1) - 0.9 * 1 + softplus(3) - 0.1 * 3) / 2
    assert items["cls_loss"] == pytest.approx(0.5 * 2 / 80 * 3 * expected)
    _, items = one_level_loss([MIDDLE], logits, class_weights=torch.tensor([2.0, 0.5]))
    assert items["cls_loss"] == pytest.approx(0.5 * 2 / 80 * 3 * (2 * softplus(-1) + 0.5 * softplus(3)) / 2)


def test_the_sum_counts_once_for_each_image():
    one, items = one_level_loss([], [0.0] * 7)
    two, same = one_level_loss([], [0.0] * 7, batch=2)
    assert two == pytest.approx(2 * one) and items == same


@pytest.mark.parametrize(
    ("strides", "weights"),
    [(P3_TO_P5, 4 + 1 + 0.4), ((4, 8, 16, 32), 4 + 1 + 0.25 + 0.06), ((8, 16, 32, 64), 4 + 1 + 0.25 + 0.06)],
)
def test_levels_are_balanced(strides, weights):
    head = head_of(strides)
    levels = [torch.zeros(1, 3, n, n, 8) for n in (8, 4, 2, 1)[: len(strides)]]
    none = {"batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4)}
    loss = AnchorLoss(head)
    assert loss({"levels": levels}, none)[1]["obj_loss"].item() == pytest.approx(weights * LN2 * 3 / len(strides))
    for i, level in enumerate(levels):  # and not in reverse
        level[..., 4] = -50.0
        rest = sum(loss.balance[i + 1 :]) * LN2 * 3 / len(strides)
        assert loss({"levels": levels}, none)[1]["obj_loss"].item() == pytest.approx(rest, abs=1e-6)


# As a criterion


def random_batch(images: int = 2, boxes: int = 9) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "batch_idx": torch.randint(images, (boxes,), generator=generator).float(),
        "cls": torch.randint(3, (boxes, 1), generator=generator).float(),
        "bboxes": torch.rand(boxes, 4, generator=generator) * 0.6 + 0.2,
    }


def test_objectness_does_not_move_boxes_and_every_logit_that_counts_moves():
    head = head_of()
    batch = random_batch()
    out = head(maps_of(head, (64, 96), batch=2))
    for level in out["levels"]:
        level.retain_grad()
    AnchorLoss(head, anchor_box=0, anchor_cls=0)(out, batch)[0].backward()
    for level in out["levels"]:
        assert level.grad[..., :4].abs().max() == level.grad[..., 5:].abs().max() == 0
        assert (level.grad[..., 4] != 0).all()
    AnchorLoss(head)(head(maps_of(head, (64, 96), batch=2)), batch)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_of_two_boxes_for_one_prediction_objectness_learns_the_latter():
    wide, tall = (0, 1.5, 2.5, 2, 1), (0, 1.5, 2.5, 1, 1.5)
    one, both, reverse = (
        one_level_loss(boxes, [0, 0, 0, 0, 2.0, 0, 0])[1]["obj_loss"] for boxes in ([tall], [wide, tall], [tall, wide])
    )
    assert both == one != reverse


def test_validation_gives_what_training_gives():
    head = head_of()
    batch, maps = random_batch(), maps_of(head, (64, 96), batch=2)
    expected, items = AnchorLoss(head)(head(maps), batch)
    head.eval()
    total, same = AnchorLoss(head)(head(maps), batch)
    assert torch.equal(total, expected) and same == items
    halved = {"levels": [level.half() for level in head(maps)[1]["levels"]]}
    total, same = AnchorLoss(head)(halved, batch)
    assert total.dtype == torch.float32 and all(value.dtype == torch.float32 for value in same.values())
    torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-3)


def test_double_precision_stays():
    head = head_of()
    levels = [level.double() for level in head(maps_of(head, (64, 96), batch=2))["levels"]]
    assert AnchorLoss(head)({"levels": levels}, random_batch())[0].dtype == torch.float64


def test_thirty_steps_find_the_boxes_of_one_image():
    torch.manual_seed(0)
    model = DetectionModel(tiny_anchor_yaml(), verbose=False)
    model.args = IterableSimpleNamespace(imgsz=640)
    image = torch.zeros(1, 3, 96, 128)
    image[..., 16:48, 24:56] = 1.0
    image[:, 0, 48:80, 72:120] = 1.0
    batch = {
        "img": image,
        "batch_idx": torch.zeros(2),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": torch.tensor([[40 / 128, 32 / 96, 32 / 128, 32 / 96], [96 / 128, 64 / 96, 48 / 128, 32 / 96]]),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss, _ = model(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        predictions = model.model[-1].decode(model(image)["levels"])[0]
    for class_index, box in enumerate(batch["bboxes"] * torch.tensor([128, 96, 128, 96])):
        scores = predictions[:, 4] * predictions[:, 5 + class_index]
        assert scores.max() > 0.5
        assert (predictions[scores.argmax(), :4] - box).abs().max() < 8
