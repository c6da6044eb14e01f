import pytest
import torch

from swin_yolo.benchmark import layer_limits, layer_profile
from swin_yolo.benchmark import layers as section
from swin_yolo.benchmark.layer_limits import matmuls
from swin_yolo.benchmark.layers import OURS, LayerSettings, layers
from swin_yolo.benchmark.swin_peers import (
    LIBRARIES,
    largest_difference,
    largest_difference_of_backbones,
    last_map,
    ours,
)
from swin_yolo.nn import pieces
from swin_yolo.timing import Timing

SMALL = LayerSettings(image_hw=((224, 224),), batches=(1,), windows=(7,), rounds=1)


@pytest.mark.parametrize("name", sorted(LIBRARIES.keys() - {OURS}))
def test_blocks_of_other_libraries_are_ours_with_their_weights(name):
    torch.manual_seed(0)
    mine, peer = ours(), LIBRARIES[name](7, (224, 224))
    for swin in (mine, peer):
        swin.module.eval()
    for stage, side in enumerate((56, 28, 14, 7)):
        for place in (0, 1):
            x = torch.randn(1, side, side, 96 * 2**stage)
            assert largest_difference(peer, mine, stage, place, x) < 1e-5


@pytest.mark.parametrize("name", sorted(LIBRARIES.keys() - {OURS}))
def test_backbones_of_other_libraries_are_ours_with_their_weights(name):
    torch.manual_seed(0)
    mine, peer = ours(), LIBRARIES[name](7, (224, 224))
    for swin in (mine, peer):
        swin.module.eval()
    assert largest_difference_of_backbones(peer, mine, torch.rand(1, 3, 224, 224)) < 1e-4


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_backbone_gives_the_last_map_of_swin_t(name):
    swin = LIBRARIES[name](7, (224, 224))
    assert last_map(swin.backbone(torch.rand(1, 3, 224, 224))).numel() == 768 * 7 * 7


def test_another_function_is_not_compared_in_speed():
    with pytest.raises(RuntimeError, match=r"timm: it differs from ours by 0\.5"):
        section._check({"torchvision": 1e-6, "timm": 0.5})


def test_the_ratio_is_to_the_fastest_of_the_others():
    times = {OURS: Timing((1.0,)), "a": Timing((3.0,)), "b": Timing((2.0,))}
    assert section._cells(times) == ("1,000", "3,000", "2,000", "2.00 (2.00 to 2.00)")


def test_products_of_swin_t_are_those_of_the_article():
    """Swin-T has 4.5 GFLOPs at 224 x 224 (arXiv 2103.14030, Table 1), counted as multiply-adds."""
    multiply_adds = sum(count * m * n * k for count, m, n, k in matmuls((224, 224), 7))
    assert multiply_adds / 1e9 == pytest.approx(4.5, abs=0.06)


def test_every_table_names_all_libraries_and_what_was_done(monkeypatch):
    monkeypatch.setattr(section, "training_peak", lambda name, *_: {OURS: 10**6}.get(name, 2 * 10**6))
    tables = list(layers(SMALL))
    titles = [table.title for table in tables]
    assert [title.rpartition(", ")[2] for title in titles[:4]] == [
        "inference",
        "a training step (forward and backward)",
        "inference",
        "a training step (forward and backward)",
    ]
    for table in tables[:4]:
        assert [column.removesuffix(", ms") for column in table.columns[1:-1]] == list(LIBRARIES)
    assert [len(table.rows) for table in tables] == [8, 8, 1, 1, 1, 2, 3, 2]
    assert tables[4].rows[0] == ("1 x 224 x 224", "1 MB", "2 MB", "2 MB", "2 MB", "0.50")


def test_shares_of_work_sum_to_the_whole():
    times = {"mkldnn::_linear_pointwise": 50.0, "aten::bmm": 10.0, "aten::gelu": 15.0, "aten::view": 25.0}
    shares = layer_profile.shares_of_work(times)
    assert (shares["matrix products"], shares["GELU"], shares["all else"]) == pytest.approx((0.6, 0.15, 0.25))
    assert sum(shares.values()) == pytest.approx(1)


def test_a_profile_finds_the_products_of_both_ways():
    table = section._profiles(SMALL)
    inference, training = (figures["shares"] for figures in table.figures.values())
    assert inference["matrix products"] > 0.3 and training["matrix products"] > 0.3
    assert training["GELU"] > 0 < inference["softmax"]
    assert all(shares["all else"] < 0.3 for shares in (inference, training))


def test_maps_that_a_further_window_does_not_divide_are_left_out(monkeypatch):
    monkeypatch.setattr(section, "interleaved", lambda work, **_: {name: Timing((1.0,)) for name in work})
    settings = LayerSettings(image_hw=((256, 256),), batches=(1,), windows=(7, 8))
    assert len(section._blocks(settings, 7, training=False).rows) == 8
    settings = LayerSettings(image_hw=((320, 320),), batches=(1,), windows=(7, 8))
    assert [row[0] for row in section._blocks(settings, 8, training=False).rows] == [
        "1 x 80 x 80 x 96, W-MSA",
        "1 x 80 x 80 x 96, SW-MSA",
        "1 x 40 x 40 x 192, W-MSA",
        "1 x 40 x 40 x 192, SW-MSA",
    ]


def test_set_up_is_waited_for(monkeypatch):
    waited_for = []
    monkeypatch.setattr(layer_limits, "wait_for", waited_for.append)
    table = section.set_up_table((64, 64), 7, torch.device("meta"), 5)
    assert len(waited_for) == 2 * 5 and set(waited_for) == {torch.device("meta")}
    assert [row[0] for row in table.rows] == ["whole maps, as on a GPU"]


def test_set_up_is_measured_anew_each_time():
    table = section.set_up_table((640, 640), 7, torch.device("cpu"), 1)
    for row in table.figures.values():
        assert row["first_ms"] > row["again_ms"]
    assert pieces.layout.cache_info().currsize == 1
