import functools
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from swin_yolo.nn.window import shifted_window_mask
from swin_yolo.nn.window_layout import window_layout
from swin_yolo.report import tall_figure
from swin_yolo.report.figure import new_figure
from swin_yolo.report.window_maps import FRAME, SHARES, draw_receptive_field, draw_windows, tinted
from swin_yolo.report.window_plots import plot_row
from swin_yolo.report.window_strips import draw_attention, draw_bias, strip_axes, window_picture
from swin_yolo.report.window_views import BlockView, RowView

RED = (255, 0, 0)


def made_up_block(map_hw, shift_size, *, window_size, heads, token) -> BlockView:
    layout = window_layout(*map_hw, window_size, shift_size)
    rng = np.random.default_rng(heads)
    tokens, side = window_size**2, 2 * window_size - 1
    attention = rng.random((heads, tokens)).astype(np.float32)
    mask = shifted_window_mask(*layout.padded_hw, window_size, layout.shift).numpy() if any(layout.shift) else None
    window, place = layout.find(*token)
    return BlockView(
        layout=layout,
        shift_size=shift_size,
        mask=mask,
        window=window,
        token=place,
        attention=attention / attention.sum(-1, keepdims=True),
        bias=rng.normal(size=(heads, side, side)).astype(np.float32),
    )


def made_up_row(map_hw=(12, 13), *, window_size=7, heads=4, pairs=1, stride=8, token=(11, 12), name="a.jpg") -> RowView:
    """A red image; the token is the last, in a window that the roll put together from four pieces."""
    H, W = (size * stride for size in map_hw)
    field = np.zeros((H, W), np.float32)
    field[token[0] * stride, token[1] * stride] = 2.0
    shifts = [0, window_size // 2] * pairs
    return RowView(
        number=6,
        layer="SwinStage",
        network_rgb=np.full((H, W, 3), RED, np.uint8),
        stride=stride,
        token=token,
        image_name=name,
        at=(100, 80),
        blocks=[made_up_block(map_hw, shift, window_size=window_size, heads=heads, token=token) for shift in shifts],
        receptive_field=field,
    )


@functools.cache
def figure_of(view: str) -> Figure:
    """The picture of one of `VIEWS`, drawn once."""
    figures: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tall_figure, "save_figure", lambda figure, file: figures.append(figure))
        plot_row(made_up_row(**VIEWS[view]), Path())
    return figures[0]


def texts_of(view: str) -> list[str]:
    return [text.get_text() for text in figure_of(view).findobj(Text)]


def bare_axes():
    return new_figure(4, 4).add_axes((0, 0, 1, 1))


VIEWS: dict[str, dict[str, Any]] = {
    "four pieces": {},
    "nothing padded": {"map_hw": (14, 21), "heads": 1},
    "many heads": {"heads": 19, "pairs": 2},
    "one window": {"map_hw": (5, 6), "token": (4, 5)},
    "a row of windows": {"map_hw": (6, 30), "token": (3, 29)},
    "many windows": {"map_hw": (30, 90), "stride": 2, "token": (29, 89), "heads": 1},
    "windows of one token": {"window_size": 1, "map_hw": (3, 4), "token": (2, 3), "heads": 1},
    "long name": {"name": "a name that goes on " * 5 + ".jpeg", "heads": 1},
}


@pytest.mark.parametrize("view", VIEWS)
def test_no_text_hides_another_or_leaves_the_picture(view):
    figure = figure_of(view)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()
    for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, (one.get_text(), other.get_text())


@pytest.mark.parametrize("view", VIEWS)
def test_no_panel_hides_another_or_a_text_that_is_not_its_own(view):
    figure = figure_of(view)
    figure.draw_without_rendering()  # fits panels to their aspects
    panels = [(axes, axes.get_window_extent()) for axes in figure.axes]
    texts = [(text, text.get_window_extent()) for text in figure.findobj(Text) if text.get_text()]
    for (_, a), (_, b) in itertools.combinations(panels, 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
    for (axes, a), (text, b) in itertools.product(panels, texts):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart or text.axes is axes, text.get_text()


def test_every_head_of_every_block_is_there():
    said = texts_of("many heads")
    for head in range(1, 20):
        assert said.count(f"head {head}") == 2 * 4
    assert [line for line in said if line.startswith("Block")] == [
        "Block 1, W-MSA",
        "Block 2, SW-MSA",
        "Block 3, W-MSA",
        "Block 4, SW-MSA",
    ]


SAID = {
    "four pieces": [
        "Row 6: SwinStage",
        "12 x 13 tokens of 8 px, windows of 7 x 7 tokens, 2 blocks, 4 heads each.  Marked: pixel 100,80 of a.jpg",
        "2 x 2 windows; hatched: padded to 14 x 14",
        "shifted by 3 rows, 3 columns",
        *(f"1 window: {kind}" for kind in ("whole", "right edge", "lower edge", "corner")),
    ],
    "nothing padded": ["2 x 3 windows; nothing is padded", "2 windows: whole", "2 windows: lower edge"],
    "one window": ["not shifted", "one window covers the map", "(d) Shift mask: none, since nothing is shifted"],
    "a row of windows": ["shifted by 0 rows, 3 columns", "4 windows: whole", "1 window: right edge"],
    "windows of one token": ["not shifted", "windows are of one token"],
}


@pytest.mark.parametrize("view", SAID)
def test_the_picture_says_what_it_shows(view):
    assert set(SAID[view]) <= set(texts_of(view))


def test_the_share_of_the_gradient_within_the_window_is_a_sum(tmp_path, monkeypatch):
    view = made_up_row(map_hw=(14, 14), token=(0, 0), heads=1)
    view.receptive_field[:] = 0
    view.receptive_field[55, 55], view.receptive_field[56, 55] = 3.0, 1.0  # the window ends at pixel 56
    said: list[str] = []
    monkeypatch.setattr(tall_figure.TallFigure, "label", lambda self, text, **where: said.append(text))
    plot_row(view, tmp_path / "row.png")
    assert "75% of the gradient is in the window of (a)" in said


def test_the_picture_is_written_whole_and_without_a_gradient_too(tmp_path):
    view = made_up_row(heads=1)
    view.receptive_field[:] = 0
    plot_row(view, tmp_path / "row.png")
    assert [file.name for file in tmp_path.iterdir()] == ["row.png"]
    image = cv2.imread(str(tmp_path / "row.png"))
    assert 1450 < image.shape[1] < 1600 and image.shape[0] > 1000


# Windows on the image


def test_padding_is_not_drawn_as_image():
    view = made_up_row()
    for draw in (lambda axes: draw_windows(axes, view, view.blocks[0]), lambda axes: draw_receptive_field(axes, view)):
        axes = bare_axes()
        draw(axes)
        assert axes.images[-1].get_extent() == [0, 104, 96, 0]
        assert axes.get_xlim()[1] > 14 * 8 and axes.get_ylim()[0] > 14 * 8


def test_pieces_of_one_window_have_one_colour_and_no_other_window_has_it():
    view = made_up_row(map_hw=(21, 28), stride=4)
    block = view.blocks[1]
    axes = bare_axes()
    draw_windows(axes, view, block)
    colours: dict[tuple, set[int]] = {}
    for patch in (p for p in axes.patches if p.get_alpha() == 0.5):
        row, column = int(patch.get_y() / 4), int(patch.get_x() / 4)
        colours.setdefault(patch.get_facecolor(), set()).add(block.layout.find(row, column)[0])
    kinds = block.layout.kinds()
    assert sorted(window for windows in colours.values() for window in windows) == sorted(
        kinds["right edge"] + kinds["lower edge"] + kinds["corner"]
    )
    assert all(len(windows) == 1 for windows in colours.values())


def test_the_masked_pieces_of_the_token_s_window_are_dashed():
    view = made_up_row()
    axes = bare_axes()
    draw_windows(axes, view, view.blocks[1])
    frame = to_rgba(FRAME)
    framed = [patch for patch in axes.patches if patch.get_edgecolor() == frame]
    (solid,) = [patch for patch in framed if patch.get_linestyle() == "-"]
    assert solid.get_bbox().bounds == (80, 80, 32, 32)  # of the window's four pieces, the lower right one of the map
    assert sorted(patch.get_bbox().bounds for patch in framed if patch is not solid) == [
        (0, 0, 24, 24),
        (0, 80, 24, 32),
        (80, 0, 32, 24),
    ]


def test_the_receptive_field_is_dark_where_the_gradient_is():
    view = made_up_row(stride=16)
    view.receptive_field[:] = 0
    view.receptive_field[10:20, 10:20], view.receptive_field[40:50, 10:20] = 1.0, 0.01
    axes = bare_axes()
    draw_receptive_field(axes, view)
    shown = np.asarray(axes.images[-1].get_array()).sum(-1)
    strong, weak, none = shown[15, 15], shown[45, 15], shown[100, 100]
    assert strong < weak < none
    ground = tinted(view.network_rgb[:1, :1], np.zeros((1, 1)))[0, 0]
    assert none == pytest.approx(ground.sum())
    half = tinted(view.network_rgb[:1, :1], np.full((1, 1), 0.5))[0, 0]  # two of four decades
    assert weak == pytest.approx(half.sum(), abs=0.02)


# Heads


def test_a_window_is_pictured_as_the_block_sees_it_rolled_and_padded():
    view = made_up_row(stride=4)
    view.network_rgb[..., 0] = np.arange(12).repeat(4)[:, None] * 20  # red by row
    view.network_rgb[..., 2] = np.arange(13).repeat(4) * 20  # blue by column
    picture = window_picture(view, view.blocks[1]).reshape(7, 4, 7, 4, 3)[:, 2, :, 2]
    rows, columns = [10, 11, None, None, 0, 1, 2], [10, 11, 12, None, 0, 1, 2]  # of 12 and 13, and padding
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        if row is not None and column is not None:
            assert (picture[i, j, 0], picture[i, j, 2]) == (row * 20, column * 20)


@pytest.mark.parametrize("number", [0, 1])
def test_a_token_of_padding_has_nothing_of_the_image(number):
    view = made_up_row()
    block = view.blocks[number]
    picture = window_picture(view, block)
    red = (picture == RED).all(-1).reshape(7, 8, 7, 8)
    outside = block.layout.padding[block.window].reshape(7, 7).numpy()
    assert outside.any() and not outside.all()
    assert np.array_equal(red.any((1, 3)), ~outside) and np.array_equal(red.all((1, 3)), ~outside)


def test_attention_is_dark_where_it_is_and_light_where_it_is_not():
    view = made_up_row(map_hw=(14, 14), token=(0, 0))
    share = np.zeros(49)
    share[8], share[9] = 1.0, 0.5
    axes = bare_axes()
    strip_axes(axes, 1, [])
    draw_attention(axes, 0, view, view.blocks[0], share)
    shown = np.asarray(axes.images[0].get_array()).reshape(7, 8, 7, 8, 3)[:, 4, :, 4]
    ground = 1 - 0.22 * (1 - 0.299)
    assert np.allclose(shown[1, 1], ground * np.array(SHARES(1.0)[:3]))
    assert np.allclose(shown[0, 0], ground * np.array(SHARES(0.0)[:3]))
    assert shown[1, 1].sum() < shown[1, 2].sum() < shown[0, 0].sum()


def test_a_bias_is_blue_above_zero_red_below_and_white_at_zero():
    bias = np.zeros((3, 3))
    bias[0, 1], bias[2, 1] = 2.0, -2.0
    axes = bare_axes()
    strip_axes(axes, 1, [])
    draw_bias(axes, 0, bias, 2.0)
    shown = np.asarray(axes.images[0].get_array())[..., :3]
    assert shown[0, 1, 2] > shown[0, 1, 0] and shown[2, 1, 0] > shown[2, 1, 2]
    assert shown[1, 1].min() > 0.95
    assert axes.images[0].get_extent() == [0, 1, 1, 0] and axes.yaxis_inverted(), "the first row is drawn above"


def test_biases_that_are_all_zero_are_white():
    axes = bare_axes()
    draw_bias(axes, 0, np.zeros((3, 3)), 0.0)
    assert np.asarray(axes.images[0].get_array())[..., :3].min() > 0.95
