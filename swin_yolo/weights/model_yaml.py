"""What a model YAML of a checkpoint may ask for, checked before it is built: layers only, and no more than its file."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from ultralytics.nn import tasks

from swin_yolo.errors import InputError
from swin_yolo.nn.activation import activation_layer
from swin_yolo.nn.register import LAYERS, literal

# Downloads weights from the network when it is built.
_FORBIDDEN = {"TorchVision"}

# Beyond those of any model: layers that all rows repeat, factors of a scale, widths and classes, values in all.
_MAX_REPEATS, _MAX_SCALE, _MAX_NUMBER, _MAX_VALUES = 1000, 16, 1 << 16, 100_000

# Elements of a layer's output for the image of 256 x 256 that ultralytics finds strides with.
_MAX_OUTPUT = 1 << 26

# Parameters beyond the bytes of the file: the class branch may be narrower than a fresh one.
_MORE_PARAMETERS = 10_000_000


def check_model_yaml(d: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless a model dictionary names layers only, so that parsing it runs no code of a stranger's.

    ultralytics' parser calls anything in its module that a row names, as often as it says.
    """
    check_values(d, where, "model YAML")
    if d.get("activation") is not None:
        activation_layer(d["activation"], where)
    backbone, head = d.get("backbone"), d.get("head")
    if not (isinstance(backbone, list) and isinstance(head, list) and backbone and head):
        raise InputError(f"{where}: expected a model YAML with 'backbone' and 'head'")
    for i, row in enumerate([*backbone, *head]):
        name = row[2] if isinstance(row, list) and len(row) == 4 else None
        if not isinstance(name, str) or not _is_layer(name):
            raise InputError(f"{where}: row {i} names {name!r}, which is no layer of swin_yolo, ultralytics or torch")
        if not isinstance(row[1], int) or row[1] < 0:
            raise InputError(f"{where}: row {i} expected a number of repeats, got {row[1]!r}")
    _check_size(d, where)


def _check_size(d: Mapping[str, Any], where: str) -> None:
    """Raise InputError if rows are repeated, or scaled, more often than those of any model, or have larger numbers."""
    rows = [*d["backbone"], *d["head"]]
    factors = [d.get("depth_multiple", 1), d.get("width_multiple", 1)]
    if isinstance(scales := d.get("scales"), Mapping):
        factors += [
            factor for scale in scales.values() for factor in (scale[:2] if isinstance(scale, list) else [None])
        ]
    if not all(isinstance(factor, int | float) and 0 <= factor <= _MAX_SCALE for factor in factors):
        raise InputError(f"{where}: its scales have factors other than numbers from 0 to {_MAX_SCALE}")
    repeats = sum(row[1] for row in rows) * max(1, *factors)
    if repeats > _MAX_REPEATS:
        raise InputError(f"{where}: its rows repeat {repeats:.6g} layers, more than any model has ({_MAX_REPEATS})")
    check_values([row[3] for row in rows], where, "model YAML", number=_MAX_NUMBER)
    for key in ("nc", "ch", "channels", "reg_max", "kpt_shape", "anchors"):
        check_values(d.get(key), where, "model YAML", number=_MAX_NUMBER)


def check_values(value: Any, where: str, part: str, *, number: int | None = None) -> None:
    """Raise InputError if values nest more parts than anybody writes, or hold a number above `number`.

    Lists whose parts are shared unfold into any number of them, wherever they are walked or spelt out.
    """
    left, seen = [value], 0
    while left:
        item, seen = left.pop(), seen + 1
        if seen > _MAX_VALUES:
            raise InputError(f"{where}: its {part} has more values than any has ({_MAX_VALUES})")
        if isinstance(item, Mapping):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            left += item
        elif number is not None:
            item = literal(item) if isinstance(item, str) and len(item) < 100 else item
            if isinstance(item, list | tuple):
                left += item
            elif isinstance(item, int | float) and not abs(item) <= number:
                raise InputError(f"{where}: its {part} has the number {item:.6g}, larger than any has ({number})")


def check_cost(d: Mapping[str, Any], channels: int, file_size: int, where: str) -> None:
    """Raise InputError if a model is far larger than the file that should hold its weights.

    It is built without memory for that. What the parser cannot build so is left to the building that follows.

    Args:
        d: after `check_model_yaml`.
        channels: of the input image.
        file_size: in bytes; no weight takes less than one.
        where: for the message.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
        layers, _ = tasks.parse_model(deepcopy(dict(d)), ch=channels, verbose=False)
        parameters = sum(tensor.numel() for tensor in layers.state_dict().values())
        if parameters > 4 * file_size + _MORE_PARAMETERS:
            raise InputError(
                f"{where}: its model YAML asks for {parameters:.3g} parameters, which {file_size} bytes cannot hold"
            )
        largest = _largest_output(layers.eval(), torch.zeros(1, channels, 256, 256))
    if largest > _MAX_OUTPUT:
        raise InputError(f"{where}: its model YAML asks for a map of {largest:.3g} elements, more than any model has")


def _largest_output(layers: nn.Sequential, x: Any) -> int:
    """Elements of the image or the largest output before the head, as far as the layers run without data."""
    outputs: list[Any] = []
    largest = x.numel()
    for layer in list(layers)[:-1]:
        source: Any = layer.f
        try:
            if isinstance(source, int):
                x = x if source == -1 else outputs[source]
            else:
                x = [x if i == -1 else outputs[i] for i in source]
            x = layer(x)
        except Exception:
            break
        outputs.append(x)
        largest = max(
            [largest, *(t.numel() for t in (x if isinstance(x, list | tuple) else [x]) if isinstance(t, Tensor))]
        )
        if largest > _MAX_OUTPUT:
            break
    return largest


def _is_layer(name: str) -> bool:
    if name in LAYERS:
        return True
    package, _, attribute = name.rpartition(".")
    package_vars = {"": vars(tasks), "nn": vars(nn), "torchvision.ops": vars(torchvision.ops)}.get(package, {})
    layer = package_vars.get(attribute)
    known = isinstance(layer, type) and issubclass(layer, nn.Module) and name not in _FORBIDDEN
    return known and (bool(package) or layer.__module__.startswith("ultralytics.nn.modules."))
