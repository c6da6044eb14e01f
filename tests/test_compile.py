"""What compilers, tracers and CUDA graphs ask of the layers: one graph, for any size, without a look at values."""

import pytest
import torch
from live_detectors import image_of, live_detector
from swin_oracles import SIZES, by_size, random_map, randomised
from torch import _dynamo as dynamo
from torch.nn import Module
from torch.utils._python_dispatch import TorchDispatchMode

from swin_yolo.nn import C3STR, SwinStage, WindowAttention, shifted_window_attention, swin
from swin_yolo.nn import attention as attention_module
from swin_yolo.nn.anchor import ANCHORS, AnchorDetect
from swin_yolo.nn.swin import SwinBlock
from swin_yolo.nn.window import shifted_window_mask, window_graph, window_partition


def anchor_head() -> AnchorDetect:
    head = AnchorDetect(2, ANCHORS[8, 16, 32], [4, 4, 4])
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    head.bias_init()
    return head


def layers() -> dict[str, tuple[Module, tuple]]:
    """Each layer with arguments for it; no map is a multiple of the window."""
    torch.manual_seed(0)
    levels = [torch.rand(2, 4, n, n + 1) for n in (12, 6, 3)]
    return {
        "WindowAttention": (WindowAttention(16, 4, 2), (torch.rand(8, 16, 16), torch.zeros(4, 16, 16))),
        "SwinBlock": (SwinBlock(16, 2, window_size=4, shift_size=2, local=True), (torch.rand(2, 9, 13, 16),)),
        "SwinStage": (SwinStage(8, 16, 2, 4, 2.0, True), (torch.rand(2, 8, 9, 13),)),
        "C3STR": (C3STR(16, 16, 2, window_size=4), (torch.rand(2, 16, 9, 13),)),
        "AnchorDetect": (anchor_head(), (levels,)),
    }


class RefusesValues(TorchDispatchMode):
    """Fails where a value of a tensor is read into Python, which waits for the device and breaks a CUDA graph."""

    REFUSED = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.REFUSED:
            raise AssertionError(f"{name} reads a value")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", layers())
def test_a_layer_compiles_to_one_graph(name):
    layer, args = layers()[name]
    dynamo.reset()
    explained = dynamo.explain(layer)(*args)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def test_a_compiled_block_gives_the_same_at_sizes_it_was_not_compiled_at():
    layer, (x,) = layers()["SwinBlock"]
    dynamo.reset()
    compiled = torch.compile(layer.eval(), backend="eager", fullgraph=True, dynamic=True)
    with torch.inference_mode():
        for H in (9, 7, 3):  # the last is less than a window
            shorter = x[:, :H]
            torch.testing.assert_close(compiled(shorter), layer(shorter))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", layers())
def test_a_forward_reads_no_value_of_a_tensor(name, training, monkeypatch):
    # As on a GPU: in pieces, which are for CPUs alone, nothing is waited for.
    monkeypatch.setattr(swin, "computes_in_pieces", lambda *_: False)
    layer, args = layers()[name]
    with RefusesValues():
        layer.train(training)(*args)


@pytest.mark.parametrize("gradients", [False, True])
def test_pieces_are_for_cpus_alone(gradients):
    block = SwinBlock(16, 2, window_size=4)
    with torch.set_grad_enabled(gradients):
        assert swin.computes_in_pieces(block, torch.rand(1, 4, 4, 16))
        assert not swin.computes_in_pieces(block, torch.rand(1, 4, 4, 16, device="meta"))


def test_reading_a_value_would_be_noticed():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), RefusesValues():
        torch.rand(3).sum().item()


@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("window", [1, 4, 7], ids="window{}".format)
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_what_a_graph_computes_is_what_runs_without_one(hw, window, shift, monkeypatch):
    shift_size = window // 2 if shift == "shifted" else 0
    attention = randomised(WindowAttention(12, window, 3))
    x = random_map(2, *hw, 12)
    expected = shifted_window_attention(x, attention, shift_size)
    monkeypatch.setattr(attention_module, "is_traced", lambda x: True)
    torch.testing.assert_close(shifted_window_attention(x, attention, shift_size), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hw", [(1, 1), (7, 7), (5, 9), (8, 20)], ids=by_size)
def test_order_of_a_graph_is_pad_roll_and_partition(hw):
    H, W = hw
    order, inverse, mask = window_graph(H, W, 4, 2, torch.device("cpu"))
    padded_h, padded_w = -(-H // 4) * 4, -(-W // 4) * 4
    place = torch.full((padded_h, padded_w), H * W)
    place[:H, :W] = torch.arange(H * W).view(H, W)
    shift = tuple(2 if size > 4 else 0 for size in (padded_h, padded_w))
    rolled = torch.roll(place, (-shift[0], -shift[1]), (0, 1))
    assert torch.equal(order, window_partition(rolled[None, ..., None], 4).flatten())
    assert torch.equal(order[inverse], torch.arange(H * W))
    assert torch.equal(mask, shifted_window_mask(padded_h, padded_w, 4, shift))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("hw", [(20, 20), (5, 3), (7, 7), (7, 30), (24, 9)], ids=by_size)
def test_a_trace_holds_for_other_sizes_and_batches(hw, batch, traced_stage):
    stage, traced = traced_stage
    x = torch.randn(batch, 12, *hw, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(traced(x), stage(x))


@pytest.fixture(scope="module")
def traced_stage():
    torch.manual_seed(0)
    stage = randomised(SwinStage(12, 12, 2, 7, 2.0, True)).float().eval()
    return stage, torch.jit.trace(stage, torch.rand(1, 12, 20, 17), check_trace=False)


@pytest.mark.parametrize("cfg", ["yolov5n-swin.yaml", "yolov5n-c3str.yaml", "yolov5n-anchor.yaml"])
def test_fusing_keeps_the_outputs(cfg):
    model, image = live_detector(cfg), image_of((96, 160))
    with torch.inference_mode():
        expected = model(image)[0]
        fused = model.fuse(verbose=False)(image)[0]
    difference = (fused - expected).abs()
    assert difference[:, :4].max() < 0.16 and difference[:, 4:].max() < 1e-3  # 1e-3 of the image's side; of 1
    assert not torch.equal(expected, expected.mean(-1, keepdim=True).expand_as(expected))
