"""Module trees as a checkpoint holds them, records or real modules: their tensors, rows and plain attributes."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .inert import Record, Refused

# No model has as many modules; a tree whose branches are shared can unfold into any number.
_MAX_MODULES = 20_000


def class_name(module: Any) -> str:
    """Module and class, such as models.yolo.Model."""
    if isinstance(module, Record):
        return type(module).origin
    return f"{type(module).__module__}.{type(module).__qualname__}"


def attributes(module: Any) -> Mapping[str, Any]:
    """Attributes of a record or a module."""
    return module.attributes if isinstance(module, Record) else vars(module)


def is_module(value: Any) -> bool:
    """Whether this is a module or the record of one."""
    return isinstance(value, nn.Module) or (isinstance(value, Record) and "_modules" in value.attributes)


def state_dict(root: Any) -> dict[str, Tensor]:
    """Parameters and persistent buffers by their dotted names, as nn.Module.state_dict gives them."""
    tensors = {}
    for prefix, module in named_modules(root):
        found = attributes(module)
        skipped = found.get("_non_persistent_buffers_set") or ()
        buffers = {k: v for k, v in (found.get("_buffers") or {}).items() if k not in skipped}
        for name, tensor in {**(found.get("_parameters") or {}), **buffers}.items():
            if isinstance(tensor, Tensor):
                tensors[f"{prefix}{name}"] = tensor.detach()
    return tensors


def named_modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Modules of a tree, parents first, each with the prefix of its tensors' names ("" or "model.0.").

    Raises:
        Refused: if there are more than any model has.
    """
    left, seen = [("", root)], 0
    while left:
        prefix, module = left.pop()
        seen += 1
        if seen > _MAX_MODULES or not is_module(module):
            raise Refused("holds modules that no model has")
        yield prefix, module
        children = [(f"{prefix}{name}.", child) for name, child in attributes(module)["_modules"].items()]
        left += reversed([(name, child) for name, child in children if child is not None])


def plain(value: Any) -> Any:
    """The value with tensors, numbers, text and containers kept, namespaces as dicts, other objects left out.

    Raises:
        Refused: if it is nested too deeply or in itself.
    """
    return _plain(value, {}, 0)


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    if depth > 50:
        raise Refused("nests values deeper than a checkpoint does")
    if value is None or isinstance(value, bool | int | float | str | Tensor | torch.dtype):
        return value
    if id(value) not in done:  # what is shared is converted once, so that the work stays in proportion to the file
        done[id(value)] = _plain_container(value, done, depth + 1)
    return done[id(value)]


def _plain_container(value: Any, done: dict[int, Any], depth: int) -> Any:
    if class_name(value).endswith("Namespace"):
        return _plain(attributes(value), done, depth)
    if isinstance(value, Mapping):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((k, _plain(v, done, depth)) for k, v in value.items() if isinstance(k, str | int | float))
    if isinstance(value, list | tuple):
        items = [_plain(v, done, depth) for v in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, set):
        return [_plain(v, done, depth) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.as_posix() if isinstance(value, PurePath) else None
