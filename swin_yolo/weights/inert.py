"""What may come out of a checkpoint's pickle: plain values, and inert records of every other object.

A pickle is a program that may call anything it can name. torch's weights_only narrows the names, but the classes on its
allow-list are still called with whatever arguments the file holds, and the constructor of a detection model evaluates
the `activation` of its YAML. Here nothing that a file names is imported: a class becomes a record that keeps its name
and attributes, and the only calls are those of `CALLS`, which rebuild tensors and plain values. They, and the keys of
dictionaries and sets, take flat values only: hashing or spelling out a value whose parts are shared can take for ever.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MAX_DIMENSIONS = 64


class Refused(pickle.UnpicklingError):
    """What a file asks for that reading it as data cannot give; the message completes "the file ..."."""


class RecordType(type):
    """The class of a record class, which makes records without arguments only."""

    origin: str

    def __call__(cls, *args: Any) -> Any:
        """A record without attributes."""
        if args:
            raise Refused(f"calls {cls.origin}")
        return super().__call__()


class Record(metaclass=RecordType):
    """An object of a class that was not imported: the class's name, and the attributes that the file gives."""

    __slots__ = ("attributes",)
    origin = ""
    attributes: dict[str, Any]

    def __new__(cls) -> "Record":
        """A record without attributes; pickles make objects by it and not by a call."""
        record = super().__new__(cls)
        record.attributes = {}
        return record

    def __setstate__(self, state: Any) -> None:
        """Keep the attributes that the file gives."""
        if isinstance(state, tuple) and len(state) == 2:
            state = state[0]
        if isinstance(state, dict):
            self.attributes.update(state)


class Ordered(OrderedDict):
    """A dictionary whose attributes a file cannot set: they would stand for its methods."""

    def __setstate__(self, state: Any) -> None:
        """Leave out the attributes, such as the versions that nn.Module.state_dict notes."""


class Call:
    """A function that a file may call and not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """What the function gives."""
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        """Refuse."""
        raise Refused("changes a function")


class NumpyDtype:
    """numpy.dtype as pickles spell it: a code such as "f8", then the byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any):
        self.code, self.order = _text(code), "="

    def __setstate__(self, state: Any) -> None:
        """Keep the byte order."""
        self.order = state[1] if state[1] in ("<", ">") else "="


def _numpy_scalar(dtype: Any, data: Any = b"") -> int | float | bool:
    if not isinstance(dtype, NumpyDtype) or not re.fullmatch(r"[fiub][1248]", dtype.code):
        raise Refused("holds a numpy value that is no number")
    return np.frombuffer(data, dtype.order + dtype.code, count=1)[0].item()


def _numpy_array(record_class: Any, *_: Any) -> Any:
    if not isinstance(record_class, RecordType):
        raise Refused("builds an array of something else than a class")
    return record_class()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"has a {type(value).__name__} where text belongs")
    return value


def sizes_of(value: Any) -> tuple[int, ...]:
    """Flat tuple of counts: a tensor's size or strides."""
    if not isinstance(value, tuple) or len(value) > _MAX_DIMENSIONS:
        raise Refused(f"has no tuple of at most {_MAX_DIMENSIONS} numbers as the size of a tensor")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        raise Refused("has a tensor size of something else than numbers below 2^48")
    return tuple(value)


def key_of(value: Any) -> Any:
    """A key of a dictionary or set: a scalar or a flat tuple of them."""
    parts = value if isinstance(value, tuple) else (value,)
    if len(parts) > _MAX_DIMENSIONS or not all(
        part is None or isinstance(part, bool | int | float | str | bytes | torch.dtype) for part in parts
    ):
        raise Refused("has a dictionary key that is no plain value")
    return value


def _ordered(pairs: Any = ()) -> Ordered:
    return Ordered((key_of(k), v) for k, v in pairs)


def _same_tensor(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Refused("builds a parameter of something else than a tensor")
    return tensor


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_parameter": _same_tensor,
    "torch._utils._rebuild_parameter_with_state": _same_tensor,
    "torch.Size": lambda size=(): torch.Size(sizes_of(size)),
    "torch.device": lambda kind, *index: ":".join([_text(kind), *map(str, sizes_of(index))]),
    "collections.OrderedDict": _ordered,
    "builtins.set": lambda values=(): set(map(key_of, values)),
    "__builtin__.set": lambda values=(): set(map(key_of, values)),
    "_codecs.encode": lambda text, encoding="latin1": _text(text).encode("latin1"),
    "numpy.dtype": NumpyDtype,
    **{f"numpy.{m}.multiarray.scalar": _numpy_scalar for m in ("core", "_core")},
    **{f"numpy.{m}.multiarray._reconstruct": _numpy_array for m in ("core", "_core")},
    **{
        f"{m}.{name}": lambda *parts, kind=kind: kind(*map(_text, parts)).as_posix()
        for m in ("pathlib", "pathlib._local")
        for name, kind in (("PosixPath", PurePosixPath), ("WindowsPath", PureWindowsPath))
    },
}
