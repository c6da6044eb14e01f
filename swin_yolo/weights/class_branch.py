"""The part of a detection head that depends on the classes: its widths, and its rows by class name."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from swin_yolo.nn.anchor import AnchorDetect

_BRANCHES = ("cv3", "one2one_cv3")


def take_widths(head: nn.Module, prefix: str, weights: Mapping[str, Tensor], *, classes: bool) -> bool:
    """Give the class branch of a Detect the widths that its weights have; parameters it changes are fresh.

    The widths of its hidden layers follow from the number of classes, but pretrained ones are worth keeping where a
    model is trained for others; ultralytics does, so its checkpoints have them.

    Args:
        head: Detect; other heads have no such branch and stay as they are.
        prefix: of the head's tensors in `weights`, such as "model.24.".
        weights: tensors by name.
        classes: whether to take the number of classes too, and not the hidden widths only.

    Returns:
        Whether anything was changed.
    """
    changed = False
    for name, module in head.named_modules():
        weight = weights.get(f"{prefix}{name}.weight")
        if not name.startswith(tuple(f"{b}." for b in _BRANCHES)) or weight is None:
            continue
        if isinstance(module, nn.BatchNorm2d):
            changed |= _widen_norm(module, len(weight))
        elif isinstance(module, nn.Conv2d):
            outputs = len(weight) if classes or ".conv" in name else module.out_channels
            changed |= _widen_conv(module, outputs, weight.shape[1])
    return changed


def _widen_norm(norm: nn.BatchNorm2d, channels: int) -> bool:
    if norm.num_features == channels:
        return False
    fresh = nn.BatchNorm2d(channels, norm.eps, norm.momentum)
    norm.num_features, norm._parameters, norm._buffers = channels, fresh._parameters, fresh._buffers
    return True


def _widen_conv(conv: nn.Conv2d, outputs: int, inputs_per_group: int) -> bool:
    if (outputs, inputs_per_group) == (conv.out_channels, conv.weight.shape[1]):
        return False
    groups = outputs if conv.groups > 1 else 1  # depthwise
    fresh = nn.Conv2d(
        inputs_per_group * groups, outputs, conv.kernel_size[0], groups=groups, bias=conv.bias is not None
    )
    conv.in_channels, conv.out_channels, conv.groups = fresh.in_channels, outputs, groups
    conv._parameters = fresh._parameters
    return True


def takes_pretrained_widths(head: nn.Module, prefix: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether the levels of a Detect read as many channels as those of `weights`, so that its class branch can run."""
    theirs = [
        w.shape[1]
        for name, w in weights.items()
        if name.startswith(f"{prefix}cv2.") and name.endswith(".0.conv.weight")
    ]
    ours = [branch[0].conv.in_channels for branch in getattr(head, "cv2", [])]
    return bool(ours) and ours == theirs


def class_pairs(source: Mapping[int, str] | None, target: Mapping[int, str]) -> list[tuple[int, int]]:
    """(source index, target index) of the classes of one name, case apart; empty where names say nothing new.

    That is where either side has placeholder names ("0", "1", ...), none is shared, or both are the same list.
    """
    if source is None or any(all(str(i) == str(n) for i, n in names.items()) for names in (source, target)):
        return []
    index = {_plain(name): i for i, name in source.items()}
    pairs = [(index[_plain(name)], j) for j, name in target.items() if _plain(name) in index]
    same = len(source) == len(target) == len(pairs) and all(i == j for i, j in pairs)
    return [] if same else pairs


def _plain(name: str) -> str:
    return str(name).strip().lower()


def class_tensors(head: nn.Module) -> Iterator[tuple[str, int]]:
    """Names in a head of the tensors with a row for each class, and how many rows stand before them.

    An anchor head has its rows once for each anchor: x, y, w, h, objectness, classes.
    """
    if isinstance(head, AnchorDetect):
        yield from ((f"m.{i}.{kind}", 5) for i in range(head.nl) for kind in ("weight", "bias"))
        return
    for branch in _BRANCHES:
        for i, layers in enumerate(getattr(head, branch, None) or ()):
            yield from ((f"{branch}.{i}.{len(layers) - 1}.{kind}", 0) for kind in ("weight", "bias"))


def by_class_name(
    source: Tensor, fresh: Tensor, pairs: list[tuple[int, int]], *, before: int, classes: tuple[int, int]
) -> Tensor | None:
    """`fresh` with the rows of the same classes taken from `source`, and the rows before the classes too.

    Args:
        source: weight or bias of the checkpoint.
        fresh: that of the model.
        pairs: of `class_pairs`.
        before: rows before the classes.
        classes: how many there are in the checkpoint and in the model.

    Returns:
        None if they are of other widths or numbers of anchors.
    """
    rows = [before + n for n in classes]
    anchors = [len(tensor) // n for tensor, n in zip((source, fresh), rows, strict=True)]
    if source.shape[1:] != fresh.shape[1:] or anchors[0] != anchors[1] or len(fresh) != anchors[1] * rows[1]:
        return None
    value = fresh.clone()
    theirs, ours = (
        source.view(anchors[0], rows[0], *source.shape[1:]),
        value.view(anchors[1], rows[1], *fresh.shape[1:]),
    )
    ours[:, :before] = theirs[:, :before].to(ours.dtype)
    for i, j in pairs:
        ours[:, before + j] = theirs[:, before + i].to(ours.dtype)
    return value
