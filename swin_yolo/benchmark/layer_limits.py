"""The Swin-T backbone beside the matrix products of this machine, and what a map of a new size costs it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from swin_yolo.benchmark.report import Table, figure
from swin_yolo.benchmark.swin_peers import DEPTHS, DIM, HEADS, ours
from swin_yolo.comparison.costs import wait_for
from swin_yolo.nn.linear import product
from swin_yolo.nn.pieces import LAYOUTS_KEPT, PIECE, layout
from swin_yolo.nn.window import (
    MASK_CACHE_BYTES,
    MASK_CACHE_SIZE,
    cached_shifted_window_mask,
    kept_masks,
    padded_size,
)
from swin_yolo.timing import interleaved, ratio

MM = "its matrix products alone, by torch.mm"
ONEDNN = "its matrix products alone, by oneDNN in pieces, as our layers do"
BACKBONE = "the whole backbone"


def bare_matmuls(image_hw: tuple[int, int], device: torch.device, rounds: int, window: int = 7) -> Table:
    """How near inference with the backbone comes to the matrix products in it alone, on the same machine."""
    products = matmuls(image_hw, window)
    flops = sum(2 * count * m * n * k for count, m, n, k in products)
    work = {MM: _bare(products, device, _mm)}
    if device.type == "cpu":
        work[ONEDNN] = _bare(products, device, _onednn)
    model = ours(window)
    model.module.to(device).eval()
    images = torch.rand(1, 3, *image_hw, device=device)

    def infer() -> None:
        with torch.inference_mode():
            model.backbone(images)
        wait_for(device)

    times = interleaved({**work, BACKBONE: infer}, rounds=rounds, warmup=2)
    fastest = min(work, key=lambda name: times[name].median)
    share, low, high = ratio(times[BACKBONE], times[fastest])
    rows = [(name, figure(1000 * timing.median), figure(flops / timing.median / 1e9)) for name, timing in times.items()]
    figures: dict[str, dict[str, object]] = {
        "share": {"ratio": share},
        **{name: {"seconds": timing.seconds} for name, timing in times.items()},
    }
    remark = (
        f"The backbone reaches {100 * share:.0f}% ({100 * low:.0f}% to {100 * high:.0f}%) of the rate of its "
        f"{flops / 1e9:.1f} GFLOP of matrix products without anything between them, by the faster of these ways."
    )
    title = f"The physical limit: Swin-T at 1 x {image_hw[0]} x {image_hw[1]}, inference"
    return Table(title, ("", "ms", "GFLOP/s"), rows, figures, (remark,))


def matmuls(image_hw: tuple[int, int], window: int) -> list[tuple[int, int, int, int]]:
    """Matrix products of a Swin-T backbone on one image.

    Returns:
        (count, m, n, k) of each: `count` products of an m x k with a k x n matrix, in one batch.
    """
    H, W = (side // 4 for side in image_hw)
    products = [(1, H * W, DIM, 3 * 4 * 4)]
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        C = DIM * 2**stage
        if stage:
            H, W = H // 2, W // 2
            products.append((1, H * W, C, 2 * C))
        padded, N = padded_size(H, window) * padded_size(W, window), window**2
        block = [
            (1, padded, 3 * C, C),
            (padded // N * heads, N, N, C // heads),
            (padded // N * heads, N, C // heads, N),
            (1, padded, C, C),
            (1, H * W, 4 * C, C),
            (1, H * W, C, 4 * C),
        ]
        products += block * depth
    return products


def _mm(x: Tensor, weight: Tensor, out: Tensor) -> None:
    torch.mm(x, weight.t(), out=out)


def _onednn(x: Tensor, weight: Tensor, out: Tensor) -> None:
    # It cannot be told where to write: for a piece at a time, as our layers do, it gets the same memory again.
    for rows in x.split(PIECE):
        product(rows, weight)


def _bare(
    products: list[tuple[int, int, int, int]], device: torch.device, linear: Callable[[Tensor, Tensor, Tensor], None]
) -> Callable[[], None]:
    shapes = dict.fromkeys(products)
    operands = {
        (count, m, n, k): [torch.rand(count, *shape, device=device) for shape in ((m, k), (n, k), (m, n))]
        for count, m, n, k in shapes
    }

    def run() -> None:
        with torch.inference_mode():
            for shape in products:
                a, b, out = operands[shape]
                if shape[0] == 1:
                    linear(a[0], b[0], out[0])
                else:
                    torch.bmm(a, b.transpose(1, 2), out=out)
        wait_for(device)

    return run


def set_up_table(image_hw: tuple[int, int], window: int, device: torch.device, rounds: int) -> Table:
    """What the first map of a new size costs, and the next ones of that size: window order and masks of SW-MSA."""
    H, W = (side // 4 for side in image_hw)
    shift = window // 2
    padded = padded_size(H, window), padded_size(W, window)

    def masks() -> None:
        cached_shifted_window_mask(*padded, window, (shift, shift), device)
        wait_for(device)

    work: dict[str, Callable[[], object]] = {"whole maps, as on a GPU": masks}
    if device.type == "cpu":
        work["in pieces, as on a CPU"] = lambda: layout(H, W, window, shift)
    rows, figures = [], {}
    for name, build in work.items():
        times = interleaved({"first": partial(_anew, build), "again": build}, rounds=max(rounds, 5), warmup=0)
        first, again = (1000 * times[key].median for key in ("first", "again"))
        rows.append((name, figure(first), figure(again)))
        figures[name] = {"first_ms": first, "again_ms": again}
    remark = (
        f"At most {MASK_CACHE_SIZE} masks, {MASK_CACHE_BYTES / 1e6:.0f} MB in all, and {LAYOUTS_KEPT} layouts are "
        "kept, whatever the number of sizes."
    )
    return Table(
        f"Set-up of a {H} x {W} map, window {window}", ("", "first, ms", "again, ms"), rows, figures, (remark,)
    )


def _anew(build: Callable[[], object]) -> None:
    kept_masks.clear()
    layout.cache_clear()
    build()
