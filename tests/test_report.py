import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from swin_yolo.errors import InputError
from swin_yolo.report import figure as figure_module
from swin_yolo.report import label_plots, score_plots, training_curves
from swin_yolo.report.drawing import draw_boxes, lettering, write_image
from swin_yolo.report.figure import new_figure, save_figure
from swin_yolo.report.fonts import font_file
from swin_yolo.report.label_plots import plot_labels
from swin_yolo.report.metrics_table import format_metrics
from swin_yolo.report.palette import class_colours, hex_colour, text_colour
from swin_yolo.report.score_plots import plot_confusion_matrix, plot_pr_curves
from swin_yolo.report.side_by_side import side_by_side
from swin_yolo.report.text import display_width, shortened
from swin_yolo.report.training_curves import plot_training_curves
from swin_yolo.scoring.average_precision import METRIC_NAMES, CocoScore


def made_up_score(names, *, absent=()) -> CocoScore:
    precision = np.stack([np.linspace(1, 0, 101) ** (k + 1) for k in range(len(names))])
    precision[[names.index(name) for name in absent]] = -1
    row = {"AP": 0.25, "AP50": 0.5, "APs": -1.0, "APm": 0.125, "APl": 1.0, "AR100": 0.375, "boxes": 12}
    metrics = {name: k / 100 for k, name in enumerate(METRIC_NAMES)} | {"APs": -1.0}
    ids = tuple(range(len(names)))
    return CocoScore(metrics, {name: dict(row) for name in names}, ids, precision, np.zeros_like(precision))


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that were to be saved, instead of their files."""
    figures: list[Figure] = []
    for module in (score_plots, training_curves, label_plots):
        monkeypatch.setattr(module, "save_figure", lambda figure, file: figures.append(figure))
    return figures


def has_colour(image_bgr, colour_rgb) -> bool:
    return bool((image_bgr == np.array(colour_rgb[::-1], np.uint8)).all(-1).any())


# Colours


def test_a_class_keeps_its_colour_whatever_the_number_of_classes():
    assert class_colours(3) == class_colours(80)[:3]
    assert class_colours(0) == []
    assert len(class_colours(300)) == 300


def test_eighty_class_colours_differ_by_more_than_a_shade():
    colours = np.array(class_colours(80), float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(80) * 999
    assert apart.min() > 20
    assert np.sort(apart[:12, :12], axis=None)[0] > 60


def test_text_on_a_class_colour_has_the_contrast_that_wcag_asks_for():
    def luminance(colour):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for colour in class_colours(128):
        low, high = sorted([luminance(colour), luminance(text_colour(colour))])
        assert (high + 0.05) / (low + 0.05) >= 4.5
    assert (text_colour((255, 255, 255)), text_colour((0, 0, 0))) == ((0, 0, 0), (255, 255, 255))


# Boxes on an image


def test_boxes_are_drawn_on_a_copy_in_their_colour():
    image = np.full((100, 200, 3), 127, np.uint8)
    out = draw_boxes(image, np.array([[50, 40, 150, 90]]), [""], [(10, 20, 200)])
    assert (image == 127).all()
    assert out.shape == image.shape and out.dtype == np.uint8
    assert out[65, 50].tolist() == out[90, 100].tolist() == [200, 20, 10]
    assert out[65, 100].tolist() == [127, 127, 127]
    assert (draw_boxes(image, np.zeros((0, 4)), [], []) == image).all()


CORNERS = {
    "top left": [-30, -30, 40, 40],
    "top right": [180, 0, 230, 40],
    "bottom right": [195, 95, 230, 130],
    "bottom left": [0, 99, 10, 130],
    "whole image": [0, 0, 200, 100],
    "outside": [500, 500, 600, 600],
}


@pytest.mark.parametrize("box", CORNERS.values(), ids=CORNERS)
def test_a_label_lies_whole_within_the_image(box):
    image = np.full((100, 200, 3), 127, np.uint8)
    colour = (250, 240, 0)
    out = draw_boxes(image, np.array([box]), ["person 0.9"], [colour], text_height=12)
    letters = lettering("person 0.9", 12)
    label = np.array(colour, float) + (np.array(text_colour(colour)) - colour) * (letters[..., None] / 255.0)
    wanted = label.round().astype(np.uint8)[..., ::-1]
    views = np.lib.stride_tricks.sliding_window_view(out, wanted.shape)[:, :, 0]
    assert any((views[row, column] == wanted).all() for row, column in np.ndindex(views.shape[:2]))


@pytest.mark.parametrize("hw", [(1, 1), (5, 3), (10, 400), (400, 10)])
def test_labels_fit_images_smaller_than_the_text(hw):
    out = draw_boxes(np.zeros((*hw, 3), np.uint8), np.array([[0, 0, 3, 3]]), ["motorcycle 0.55"], [(255, 255, 0)])
    assert out.shape == (*hw, 3)


def test_of_two_labels_in_one_place_the_first_is_on_top():
    first, second = (255, 0, 0), (0, 0, 255)
    image = np.zeros((60, 100, 3), np.uint8)
    boxes = np.array([[10, 30, 90, 50], [10, 30, 90, 50]])
    out = draw_boxes(image, boxes, ["one", "one"], [first, second], text_height=12)[:29]
    assert has_colour(out, first) and not has_colour(out, second)


def test_letters_beyond_ascii_are_drawn_as_themselves():
    assert not np.array_equal(lettering("Э", 20), lettering("Я", 20))
    assert not np.array_equal(lettering("ü", 20), lettering("u", 20))
    assert font_file("RBC").endswith("DejaVuSans.ttf")


def test_image_that_cannot_be_encoded_is_an_error(tmp_path):
    with pytest.raises((OSError, cv2.error)):
        write_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.nonsense")
    assert list(tmp_path.iterdir()) == []


# Files


def test_a_figure_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "plot.png"
    file.write_bytes(b"old")

    def half(self, part, **kwargs):
        part.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(figure_module.Figure, "savefig", half)
    with pytest.raises(OSError, match="no space left"):
        save_figure(new_figure(2, 2), file)
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    assert file.read_bytes() == b"old"


def test_plots_can_be_drawn_from_threads_and_leave_matplotlib_as_it_was(tmp_path):
    before = dict(rcParams)
    start = threading.Barrier(3)

    def plot(i):
        start.wait()
        plot_pr_curves(made_up_score([f"class {i}", "细胞"]), tmp_path / f"{i}.png")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(plot, range(3)))
    assert dict(rcParams) == before
    images = [cv2.imread(str(tmp_path / f"{i}.png")) for i in range(3)]
    assert all(image is not None and image.shape[1] > 800 for image in images)


# Precision-recall curves


def test_pr_plot_has_a_curve_for_each_class_with_ground_truth_and_the_mean(drawn):
    score = made_up_score(["cat", "dog", "unseen"], absent=["unseen"])
    plot_pr_curves(score, None)
    lines = drawn[0].axes[0].lines
    assert [line.get_label() for line in lines] == ["0.500  cat", "0.500  dog", "0.417  mean of 2"]
    assert [line.get_color() for line in lines[:2]] == [hex_colour(c) for c in class_colours(2)]
    assert np.allclose(lines[2].get_ydata(), score.precision[:2].mean(0))
    assert np.allclose(lines[0].get_xdata(), np.linspace(0, 1, 101))


def test_pr_plot_of_many_classes_names_only_the_mean(drawn):
    plot_pr_curves(made_up_score([f"class {i}" for i in range(13)]), None)
    axes = drawn[0].axes[0]
    assert len(axes.lines) == 14
    assert [text.get_text()[7:] for text in axes.get_legend().get_texts()] == ["mean of 13"]


def test_pr_plot_without_ground_truth_says_so(drawn):
    plot_pr_curves(made_up_score(["cat"], absent=["cat"]), None)
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["no ground truth"]


# Confusion matrix


def test_confusion_plot_shows_shares_of_each_true_column(drawn):
    plot_confusion_matrix(np.array([[6, 0, 1], [2, 0, 3], [0, 0, 0]]), ["cat", "dog"], None)
    axes = drawn[0].axes[0]
    share = axes.images[0].get_array().filled(np.nan)
    assert np.allclose(share, [[0.75, np.nan, 0.25], [0.25, np.nan, 0.75], [0, np.nan, 0]], equal_nan=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "background"]
    assert sorted(text.get_text() for text in axes.texts) == ["0.25\n1", "0.25\n2", "0.75\n3", "0.75\n6"]


@pytest.mark.parametrize("count", [1, 80])
def test_confusion_plot_is_written_for_few_and_many_classes(tmp_path, count):
    matrix = np.eye(count + 1, dtype=np.int64) * 5
    plot_confusion_matrix(matrix, [f"a rather long class name {i}" for i in range(count)], tmp_path / "c.png")
    height, width = cv2.imread(str(tmp_path / "c.png")).shape[:2]
    assert 500 < height < 3000 and 500 < width < 3000


# Training curves

HEADER = "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,AP,AP50,AP75,APs,APm,APl,val/box_loss,lr/pg0,lr/pg1"


def curves(figure) -> list[dict[str, list[float]]]:
    return [
        {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines if line.get_label()[0] != "_"}
        for axes in figure.axes
    ]


def test_training_plot_has_losses_aps_and_rates(tmp_path, drawn):
    rows = ["1,9,3,2,1,0.1,0.2,0.0,-1,0.3,0.4,3.5,0.01,0.01", "2,9,2,1,1,0.3,0.5,nan,-1,0.2,0.6,3.0,0.02,0.02"]
    (tmp_path / "r.csv").write_text("\n".join([HEADER, *rows, ""]))
    plot_training_curves(tmp_path / "r.csv", None)
    box, cls, dfl, ap, sizes, rate = curves(drawn[0])
    assert box == {"train": [3, 2], "val": [3.5, 3]}
    assert (cls, dfl) == ({"train": [2, 1]}, {"train": [1, 1]})
    assert list(ap) == ["AP, best 0.300 in epoch 2", "AP50", "AP75"]
    assert ap["AP75"][0] == 0 and np.isnan(ap["AP75"][1])
    assert sizes == {"APm": [0.3, 0.2], "APl": [0.4, 0.6]}
    assert rate == {"pg0 and 1 more": [0.01, 0.02]}


@pytest.mark.parametrize("rows", [[], ["1,9,3,nan,,0.1"], ["1,9,nan,inf,x,-1,-1,-1,-1,-1,-1,nan,0,0"]])
def test_training_plot_copes_with_no_or_one_epoch_and_gaps(tmp_path, rows):
    (tmp_path / "r.csv").write_text("\n".join([HEADER, *rows, ""]))
    plot_training_curves(tmp_path / "r.csv", tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_training_plot_of_a_file_that_is_no_results_csv_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"r\.csv: cannot be read"):
        plot_training_curves(tmp_path / "r.csv", tmp_path / "c.png")
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected a header with the column 'epoch'"):
        plot_training_curves(tmp_path / "r.csv", tmp_path / "c.png")


# Labels


def test_label_plot_counts_classes_and_coco_sizes(drawn):
    areas = np.array([31.0**2, 32.0**2, 95.0**2, 96.0**2])
    wh = np.sqrt(areas)[:, None].repeat(2, 1)
    plot_labels(np.array([2, 0, 2, 2]), wh, areas, np.full((4, 2), 200), ["a", "b", "c"], None)
    counts, density, sizes = drawn[0].axes[:3]
    assert [label.get_text() for label in counts.get_yticklabels()] == ["c", "a", "b"]
    assert [bar.get_width() for bar in counts.patches] == [3, 1, 0]
    assert density.images[0].get_array().sum() == 4
    shares = [text.get_text() for text in sizes.get_legend().get_texts()]
    assert shares == ["25% small, below 32²", "50% medium", "25% large, from 96²"]


def test_label_plot_of_no_boxes_and_of_many_classes(tmp_path, drawn):
    nothing = np.zeros((0, 2))
    plot_labels(np.zeros(0, int), nothing, np.zeros(0), nothing, ["a"], None)
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["no boxes"]
    many = np.arange(40)
    plot_labels(many, np.ones((40, 2)), np.ones(40), np.full((40, 2), 9), [f"class {i}" for i in many], None)
    counts = drawn[1].axes[0]
    assert counts.get_yticklabels()[-1].get_text() == "10 more"
    assert sum(bar.get_width() for bar in counts.patches) == 40


# Side by side


def boxed(category_id, bbox, **more):
    return {"category_id": category_id, "bbox": bbox, **more}


def test_truth_is_left_and_sure_predictions_are_right(tmp_path):
    write_image(np.full((200, 300, 3), 127, np.uint8), tmp_path / "image.png")
    truth, sure, unsure = class_colours(3)
    side_by_side(
        [tmp_path / "image.png"],
        [[boxed(7, [10, 10, 100, 100])]],
        [[boxed(9, [10, 10, 100, 100], score=0.25), boxed(11, [150, 50, 100, 100], score=0.2)]],
        {7: "first", 11: "third", 9: "second"},
        tmp_path / "out.png",
    )
    picture = cv2.imread(str(tmp_path / "out.png"))
    left, right = np.array_split(picture, 2, axis=1)
    assert has_colour(left, truth) and not has_colour(right, truth)
    assert has_colour(right, sure) and not has_colour(left, sure)
    assert not has_colour(picture, unsure)


def test_grid_stays_within_2000_pixels_and_the_number_of_images(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for i, file in enumerate(files):
        write_image(np.zeros((60, 3000 if i == 4 else 90, 3), np.uint8), file)
    empty = [[] for _ in files]
    heights = []
    for count in (1, 3, 4, 8):
        side_by_side(files, empty, empty, {1: "a"}, tmp_path / "out.jpg", max_images=count)
        height, width = cv2.imread(str(tmp_path / "out.jpg")).shape[:2]
        assert width <= 2000
        heights.append(height)
    assert heights[0] < heights[1] == heights[2] < heights[3]


def test_picture_names_the_image_that_cannot_be_read(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    for name, message in (("text.jpg", "cannot be read as an image"), ("none.jpg", "cannot be read as an image")):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            side_by_side([tmp_path / name], [[]], [[]], {1: "a"}, tmp_path / "out.jpg")
    with pytest.raises(ValueError, match="at least one image"):
        side_by_side([], [], [], {1: "a"}, tmp_path / "out.jpg")


# Table


def test_metrics_table_lines_up_whatever_the_names():
    lines = format_metrics(made_up_score(["cell", "红细胞", "\x1b[31mred\n" + 40 * "x"])).splitlines()
    assert lines[1].split() == list(METRIC_NAMES[:6])
    assert lines[2].split() == ["0.000", "0.010", "0.020", "-", "0.040", "0.050"]
    assert lines[4].split() == list(METRIC_NAMES[6:])
    assert lines[5].split() == ["0.060", "0.070", "0.080", "0.090", "0.100", "0.110"]
    assert lines[8].split() == ["cell", "12", "0.250", "0.500", "-", "0.125", "1.000", "0.375"]
    assert lines[10].startswith(r"\x1b[31mred\nxxx") and "..." in lines[10]
    assert len({display_width(line) for line in lines[7:]}) == 1
    assert len({len(line) for line in lines[:6]}) == 1


def test_metrics_table_leaves_classes_out_on_request():
    score = made_up_score(["cell"])
    assert format_metrics(score, per_class=False) == format_metrics(score).split("\n\n")[0]


@pytest.mark.parametrize(
    ("text", "short"),
    [("plain", "plain"), ("12345678", "12345678"), ("123456789", "12345..."), ("红" * 5, "红红...")],
)
def test_shortened_text_keeps_to_its_columns(text, short):
    assert shortened(text, 8) == short
