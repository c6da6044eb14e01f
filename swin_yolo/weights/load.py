"""Starting from trained weights: one function for every file that can be started from."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.errors import InputError

from .class_branch import by_class_name, class_pairs, class_tensors, take_widths, takes_pretrained_widths
from .read import Checkpoint, read_checkpoint
from .report import LEFT_OVER, LOADED, RESIZED, Entry, LoadReport, part_labels
from .swin import IMAGENET_STATS, load_swin
from .swin_layouts import UnsupportedSwinError, is_swin
from .yolov5 import Taken, load_yolov5, rows_of


def load_weights(model: nn.Module, file: str | Path, *, trust: bool = False) -> LoadReport:
    """Load what fits of a file's weights into a model; the rest of the model stays as it is.

    Taken are ImageNet Swins of all four layouts, and detectors of ours, of ultralytics and of the original YOLOv5, with
    or without their model. A detector sees images in 0..1, so the normalisation that an ImageNet Swin expects of its
    images is put into its patch embedding. Where a detector's classes are others than the model's, those of the same
    name keep their rows in the head.

    Args:
        model: a detector, its `names` set; for Swin weights `nn.SwinTransformer` too. The hidden layers of its head's
            class branch get the checkpoint's widths.
        file: .pt, .pth or .safetensors.
        trust: see `read_checkpoint`.

    Raises:
        InputError: if the file cannot be read, or nothing in it fits but parts of the head.
    """
    checkpoint = read_checkpoint(file, trust=trust)
    load = _load_swin if is_swin(checkpoint.state_dict) else _load_detector
    report = load(model, checkpoint)
    # Some of a head has the same shape at every scale.
    head = f"model.{len(model.model) - 1}." if isinstance(model, DetectionModel) else None
    taken = [entry.name for entry in report.entries if entry.status in (LOADED, RESIZED)]
    if all(head is not None and name.startswith(head) for name in taken):
        raise InputError(f"{file}: none of its weights fit the model; expected those of the same scale (n, s, m, l, x)")
    return report


def _load_swin(model: nn.Module, checkpoint: Checkpoint) -> LoadReport:
    stats = IMAGENET_STATS if isinstance(model, DetectionModel) else None
    try:
        return load_swin(checkpoint.state_dict, model, image_stats=stats)
    except UnsupportedSwinError as e:
        raise InputError(f"{checkpoint.file}: it {e}") from e


def _load_detector(model: nn.Module, checkpoint: Checkpoint) -> LoadReport:
    if not isinstance(model, DetectionModel):
        raise InputError(f"{checkpoint.file}: expected ImageNet Swin weights, the only ones that fit a classifier")
    weights = checkpoint.state_dict
    head, source_head = model.model[-1], f"model.{max(rows_of(weights), default=0)}."
    if takes_pretrained_widths(head, source_head, weights) and take_widths(head, source_head, weights, classes=False):
        head.bias_init()
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        taken = load_yolov5(weights, model)
    except InputError as e:
        raise InputError(f"{checkpoint.file}: {e}") from e
    by_name = _load_classes_by_name(model, checkpoint, taken, fresh)
    entries = []
    for entry in taken:
        if entry.target in by_name:
            same_shape = fresh[entry.target].shape == weights[by_name[entry.target]].shape
            status, note = LOADED if same_shape else RESIZED, "classes of the same name kept"
            entries.append(Entry(entry.target, tuple(fresh[entry.target].shape), status, note))
        elif entry.target is not None:
            entries.append(Entry(entry.target, tuple(fresh[entry.target].shape), entry.status))
        elif entry.source is not None and entry.source not in by_name.values():
            entries.append(Entry(entry.source, tuple(weights[entry.source].shape), LEFT_OVER))
    return LoadReport(tuple(entries), part_labels(model))


@torch.no_grad()
def _load_classes_by_name(
    model: DetectionModel, checkpoint: Checkpoint, taken: list[Taken], fresh: Mapping[str, Tensor]
) -> dict[str, str]:
    """Bring the head's class rows into the model's order of classes; gives the checkpoint's name of each tensor."""
    pairs = class_pairs(checkpoint.names, model.names)
    if not pairs or checkpoint.names is None:
        return {}
    state, head = model.state_dict(), f"model.{len(model.model) - 1}."
    sources = {entry.target: entry.source for entry in taken if entry.target and entry.source}
    classes = len(checkpoint.names), len(model.names)
    found = {}
    for name, before in class_tensors(model.model[-1]):
        source = checkpoint.state_dict.get(_class_source(head + name, sources))
        if source is None:
            continue
        value = by_class_name(source, fresh[head + name], pairs, before=before, classes=classes)
        if value is not None:
            state[head + name].copy_(value)
            found[head + name] = _class_source(head + name, sources)
    return found


def _class_source(target: str, sources: Mapping[str, str]) -> str:
    """The checkpoint's name of a class tensor; "" if it has none.

    One for other classes is loaded from nowhere, but the box branch of its level is, and says the level there.
    """
    match = re.fullmatch(r"(.+\.)(cv3|one2one_cv3)\.(\d+)\.(.+)", target)
    if match is None:
        return sources.get(target, "")
    box, _, level = sources.get(f"{match[1]}cv2.{match[3]}.0.conv.weight", "").rpartition("cv2.")
    return f"{box}{match[2]}.{level.partition('.')[0]}.{match[4]}" if level else ""
