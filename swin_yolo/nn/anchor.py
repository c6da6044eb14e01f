"""YOLOv5's anchor-based detection head, as its releases v6.0 to v7.0 have it.

Shapes: `B` batch, `nl` levels, `na` anchors per level, `ny nx` map of a level in cells, `no` = 5 + nc outputs per
anchor (x, y, w, h, objectness, classes), `N` predictions of an image: na ny nx of every level, in that order.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Detect
from ultralytics.utils.ops import xywh2xyxy

from ..errors import InputError
from .arguments import check_positive_int

_P3_TO_P5 = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]

# Widths and heights of the anchors of each level in pixels, by the strides of the levels. YOLOv5 published those of
# P3 to P5 (for 640 px) and P3 to P6 (for 1280 px). For P2 it lets AutoAnchor choose; those here are the ones that most
# YOLOv5 variants with a P2 level add.
ANCHORS: dict[tuple[int, ...], list[list[int]]] = {
    (8, 16, 32): _P3_TO_P5,
    (4, 8, 16, 32): [[5, 6, 8, 14, 15, 11], *_P3_TO_P5],
    (8, 16, 32, 64): [
        [19, 27, 44, 40, 38, 94],
        [96, 68, 86, 152, 180, 137],
        [140, 301, 303, 264, 238, 542],
        [436, 615, 739, 380, 925, 792],
    ],
}


class AnchorDetect(Detect):
    """YOLOv5's head: a 1x1 convolution per level, na (5 + nc) channels, anchor by anchor.

    YAML row, read as in YOLOv5's own YAMLs: `[[17, 20, 23], 1, AnchorDetect, [nc, anchors]]`, where `anchors` is a key
    of the YAML. Parameters and the buffer `anchors` have YOLOv5's names, so that its weights load. It is a `Detect` to
    ultralytics, which then computes strides, runs NMS and exports as for its own heads.

    Args:
        nc: classes.
        anchors: per level, in the order of `ch`: width, height, width, height, ... in pixels.
        ch: channels of the maps it reads, one for each level.

    Raises:
        ValueError: if there is not one list of anchors for each level, all as long and of positive pairs.
    """

    def __init__(self, nc: int, anchors: Sequence[Sequence[float]], ch: Sequence[int]):
        nn.Module.__init__(self)  # Detect's would build the anchor-free branches
        check_positive_int("nc", nc)
        _check_anchors(anchors, len(ch))
        self.nc, self.nl, self.na, self.no = nc, len(ch), len(anchors[0]) // 2, 5 + nc
        self.anchors_px = [list(level) for level in anchors]
        self.m = nn.ModuleList(nn.Conv2d(c, self.na * self.no, 1) for c in ch)
        self.stride = torch.zeros(self.nl)
        # nl na 2, width and height in strides of the level; in pixels until `bias_init`, when strides are known.
        self.register_buffer("anchors", torch.tensor(self.anchors_px, dtype=torch.float).view(self.nl, self.na, 2))
        # Branches that ultralytics looks at in any Detect when it fuses and loads.
        self.cv2, self.cv3 = nn.ModuleList(), None

    @property
    def anchors(self) -> Tensor:
        """The buffer: Detect has a class attribute of this name, which would hide it."""
        return cast(Tensor, nn.Module.__getattr__(self, "anchors"))

    @torch.no_grad()
    def bias_init(self) -> None:
        """Bring the anchors into strides, and add YOLOv5's priors to the biases; ultralytics calls it once.

        The priors (RetinaNet, arXiv 1708.02002, Sec. 3.3): 8 objects in an image of 640 x 640 pixels, and 0.6 of a
        class chosen for each.

        Raises:
            InputError: if the anchors grow from level to level where strides shrink.
        """
        strides = self.stride.tolist()
        anchors = torch.tensor(self.anchors_px, dtype=torch.float).view(self.nl, self.na, 2)
        area = anchors.prod(-1).mean(-1).tolist()
        if (area[-1] - area[0]) * (strides[-1] - strides[0]) < 0:
            raise InputError(
                f"AnchorDetect: expected anchors in the order of its 'from' rows, whose strides are {strides}; "
                f"got {self.anchors_px}"
            )
        self.anchors.copy_(anchors / anchors.new_tensor(strides).view(-1, 1, 1))
        for conv, stride in zip(self.m, strides, strict=True):
            bias = conv.get_parameter("bias").view(self.na, self.no)
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.nc - 0.99999))

    def forward(self, x: list[Tensor]) -> Any:
        """Predict on the maps of all levels.

        Args:
            x: (B, ch, ny, nx) of each level.

        Returns:
            In training, {"feats": `x`, "levels": the logits of each level, (B, na, ny, nx, no)}. Else (y, that dict),
            or y alone in an exported model: (B, 4 + nc, N), box centre and size in pixels (corners where `xyxy` is
            set) and objectness times class scores. YOLOv5's NMS does the same product, so ultralytics' is YOLOv5's.
        """
        preds = {"feats": x, "levels": [self._split(conv(feat)) for conv, feat in zip(self.m, x, strict=True)]}
        if self.training:
            return preds
        y = self._inference(preds)
        return y if self.export else (y, preds)

    def _inference(self, preds: dict[str, list[Tensor]]) -> Tensor:
        """From logits to boxes and scores; Detect's has this name."""
        boxes, objectness, scores = self.decode(preds["levels"]).split((4, 1, self.nc), -1)
        return torch.cat((xywh2xyxy(boxes) if self.xyxy else boxes, objectness * scores), -1).transpose(1, 2)

    def decode(self, levels: list[Tensor]) -> Tensor:
        """YOLOv5's own output.

        Args:
            levels: logits, (B, na, ny, nx, no) of each level.

        Returns:
            (B, N, no): box centre and size in pixels, objectness and class scores in 0..1, not multiplied.
        """
        return torch.cat([self._decode_level(level, i) for i, level in enumerate(levels)], 1)

    def _split(self, x: Tensor) -> Tensor:
        B, _, ny, nx = x.shape
        return x.view(B, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2)  # B na ny nx no

    def _decode_level(self, level: Tensor, i: int) -> Tensor:
        ny, nx = level.shape[2:4]
        anchors, stride = self.anchors[i], self.stride[i]
        # In the anchors' type and not in the logits': autocast's bfloat16 cannot count 257 cells.
        rows, cols = (torch.arange(n, device=level.device, dtype=anchors.dtype) for n in (ny, nx))
        grid = torch.stack(torch.meshgrid(cols, rows, indexing="xy"), -1)  # ny nx 2
        xy, wh, scores = level.sigmoid().split((2, 2, 1 + self.nc), -1)
        xy = (xy * 2 + (grid - 0.5)) * stride
        wh = (wh * 2) ** 2 * (anchors * stride)[:, None, None]
        return torch.cat((xy, wh, scores), -1).flatten(1, 3)  # B na*ny*nx no

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take v6.0's weights too: their buffer `anchor_grid` is the anchors once more, in pixels."""
        state_dict.pop(f"{prefix}anchor_grid", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check_anchors(anchors: Any, levels: int) -> None:
    """Raise ValueError unless there are as many width, height pairs for each level."""
    lists = list(anchors) if isinstance(anchors, list | tuple) else []
    same = len(lists) == levels and all(isinstance(a, list | tuple) and len(a) == len(lists[0]) for a in lists)
    sizes = [size for a in lists for size in a] if same else []
    positive = all(isinstance(size, int | float) and size > 0 for size in sizes)
    if not sizes or len(lists[0]) % 2 or not positive:
        raise ValueError(f"anchors must be {levels} lists of width, height, ... in pixels, as long each, got {anchors}")


def with_anchor_head(yaml_dict: dict[str, Any]) -> dict[str, Any]:
    """A model dictionary with `AnchorDetect` in the place of its `Detect`, and YOLOv5's anchors for its strides.

    YOLOv5's own YAMLs, which name anchors in the row `Detect`, keep those. One that has `AnchorDetect` already is given
    back as it is.

    Raises:
        InputError: if the last row is neither, or there are no anchors for the strides of its levels.
    """
    d = deepcopy(yaml_dict)
    rows = [*d["backbone"], *d["head"]]
    if any(not isinstance(row, list) or len(row) != 4 for row in rows):
        return d  # the parser says which row is wrong
    source, _, name, args = last = rows[-1]
    if name == "AnchorDetect":
        return d
    where = d.get("yaml_file", "model YAML")
    if name != "Detect":
        raise InputError(f"{where}: an anchor head can take the place of a last row Detect only, got {name}")
    own = args[1] if len(args) == 2 else None
    if isinstance(d.get("anchors") if own == "anchors" else own, list):
        last[2] = "AnchorDetect"
        return d
    strides = _row_strides(rows[:-1])
    levels = tuple(round(strides[i]) for i in (source if isinstance(source, list) else [source]))
    if levels not in ANCHORS:
        raise InputError(
            f"{where}: no anchors for levels of strides {levels}, there are for {', '.join(map(str, ANCHORS))}; "
            "write a row AnchorDetect and the key 'anchors' into the YAML"
        )
    d["anchors"] = deepcopy(ANCHORS[levels])
    last[2:] = ["AnchorDetect", [*args[:1], "anchors"]]
    return d


def _row_strides(rows: list[list]) -> list[float]:
    """Stride in pixels of each row's output; a layer that is not known is taken to keep the resolution."""
    strides: list[float] = []
    for source, _, name, args in rows:
        before = strides[source[0] if isinstance(source, list) else source] if strides else 1
        strides.append(before * _downsampling(name, args))
    return strides


def _downsampling(name: str, args: list) -> float:
    """By how much a row divides the resolution."""
    if name == "Conv":
        return args[2] if len(args) > 2 else 1
    if name == "PatchEmbed":
        size = args[1] if len(args) > 1 else 4
        return size.get("patch_size", 4) if isinstance(size, dict) else size
    if name == "nn.Upsample":
        return 1 / args[1]
    return 2 if name == "PatchMerging" else 1
