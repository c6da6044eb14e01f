"""Where the time of our Swin-T goes on a CPU: what stands between it and the matrix products alone."""

from collections.abc import Callable, Mapping

from torch.profiler import ProfilerActivity, profile

from swin_yolo.benchmark.report import Table

WORK = {
    "matrix products": (
        "mkldnn::_linear_pointwise",
        "aten::addmm",
        "aten::mm",
        "aten::baddbmm_",
        "aten::bmm",
        "aten::mkldnn_convolution",
        "aten::convolution_backward",
    ),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "LayerNorm": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "windows and heads": (
        "aten::index_select",
        "aten::index_copy_",
        "aten::index",
        "aten::masked_fill_",
        "aten::copy_",
        "aten::cat",
    ),
    "sums": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::sum"),
}
PASSES = 3


def profile_table(steps: Mapping[str, Callable[[], None]]) -> Table:
    """Shares of time by kind of work, of each of these steps."""
    rows, figures = [], {}
    for name, step in steps.items():
        step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(PASSES):
                step()
        shares = shares_of_work({event.key: event.self_cpu_time_total for event in profiler.key_averages()})
        rows.append((name, *(f"{100 * share:.0f}%" for share in shares.values())))
        figures[name] = {"shares": shares}
    remark = (
        f"Shares of the time in PyTorch's operators, by its profiler, {PASSES} passes of each. The GELU of inference "
        "is computed in the matrix product in front of it. Windows and heads: whatever is copied, to compute in "
        "windows, in pieces and by head, to merge patches, and to turn a weight for its gradient."
    )
    return Table("Where the time of our Swin-T goes", ("", *WORK, "all else"), rows, figures, (remark,))


def shares_of_work(microseconds: Mapping[str, float]) -> dict[str, float]:
    """Shares of `WORK` and of all else, which sum to 1, from the time in each operator itself."""
    total = sum(microseconds.values())
    shares = {kind: sum(microseconds.get(name, 0) for name in names) / total for kind, names in WORK.items()}
    return {**shares, "all else": 1 - sum(shares.values())}
