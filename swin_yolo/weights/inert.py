"""Unpickling without code: tensors and plain values come out as they are, every other object as an inert record.

A pickle is a program that may call anything it can name. torch's weights_only narrows the names, but the classes on its
allow-list are still called with whatever arguments the file holds, and the constructor of a detection model evaluates
the `activation` of its YAML. Here nothing that a file names is imported: a class becomes a record that keeps its name
and attributes, and the only calls are those of `CALLS`, which rebuild tensors and plain values.
"""

import io
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Classes that may stand in a checkpoint, as records: layers, and the namespaces that hold arguments.
RECORD_PACKAGES = ("torch.nn.modules.", "torchvision.ops.", "ultralytics.", "swin_yolo.", "models.", "utils.")
RECORDS = {"argparse.Namespace", "types.SimpleNamespace", "numpy.ndarray"}

STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}

# Opcodes that torch.save never writes: objects by other ways than a named class, and buffers made before they are read.
_UNUSED_OPCODES = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BYTEARRAY8", "NEXT_BUFFER"}

# A tensor expanded over a smaller storage may have as many elements as this, as YOLOv5's saved grids do.
_EXPANDED = 1 << 20


class Refused(pickle.UnpicklingError):
    """What a file asks for that reading it as data cannot give; the message completes "the file ..."."""


class _RecordType(type):
    origin: str

    def __call__(cls, *args: Any) -> Any:
        if args:
            raise Refused(f"calls {cls.origin}")
        return super().__call__()


class Record(metaclass=_RecordType):
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


class _Call:
    """A function that a file may call and not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise Refused("changes a function")


class _NumpyDtype:
    """numpy.dtype as pickles spell it: a code such as "f8", then the byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any):
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


def _numpy_scalar(dtype: Any, data: Any = b"") -> int | float | bool:
    if not isinstance(dtype, _NumpyDtype) or not re.fullmatch(r"[fiub][1248]", dtype.code):
        raise Refused("holds a numpy value that is no number")
    return np.frombuffer(data, dtype.order + dtype.code, count=1)[0].item()


def _numpy_array(record_class: Any, *_: Any) -> Record:
    return record_class()


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if not isinstance(storage, Tensor):
        raise Refused("builds a tensor of something else than a storage")
    elements = int(np.prod(size, dtype=object))
    if elements > max(storage.numel(), _EXPANDED):
        raise Refused(f"holds a tensor of {elements} elements over a storage of {storage.numel()}")
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _same_tensor(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Refused("builds a parameter of something else than a tensor")
    return tensor


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _same_tensor,
    "torch._utils._rebuild_parameter_with_state": _same_tensor,
    "torch.Size": torch.Size,
    "torch.device": lambda *where: ":".join(map(str, where)),
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "_codecs.encode": lambda text, encoding="latin1": text.encode("latin1"),
    "numpy.dtype": _NumpyDtype,
    **{f"numpy.{m}.multiarray.scalar": _numpy_scalar for m in ("core", "_core")},
    **{f"numpy.{m}.multiarray._reconstruct": _numpy_array for m in ("core", "_core")},
    **{
        f"{m}.{name}": lambda *parts, kind=kind: kind(*parts).as_posix()
        for m in ("pathlib", "pathlib._local")
        for name, kind in (("PosixPath", PurePosixPath), ("WindowsPath", PureWindowsPath))
    },
}


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle as data; see the module.

    Args:
        data: the pickle; what follows its end is left unread.
        persistent: gives the object of a persistent id, which is how torch names storages.

    Raises:
        Refused: if the pickle names or calls what no checkpoint needs. Broken ones raise what `pickle` raises.
    """

    def __init__(self, data: bytes | memoryview, persistent: Callable[[Any], Any]):
        self.size = check_opcodes(data)
        self._persistent = persistent
        self._classes: dict[str, type] = {}
        super().__init__(io.BytesIO(data[: self.size]), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global: a guarded call, a dtype or a record class. Nothing is imported."""
        origin = f"{module}.{name}"
        if origin in CALLS:
            return _Call(CALLS[origin])
        if module == "torch" and name.removesuffix("Storage") in STORAGES:
            return STORAGES[name.removesuffix("Storage")]
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if origin not in RECORDS and not origin.startswith(RECORD_PACKAGES):
            raise Refused(f"names {origin}")
        if origin not in self._classes:
            self._classes[origin] = _RecordType(name, (Record,), {"__slots__": (), "origin": origin})
        return self._classes[origin]

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a persistent id."""
        return self._persistent(pid)


def check_opcodes(data: bytes | memoryview) -> int:
    """Bytes of the pickle that `data` starts with.

    Raises:
        Refused: if it uses opcodes that no checkpoint needs, or names memo slots far beyond its size, for which the
            unpickler would take all memory.
    """
    stream = io.BytesIO(data)
    for opcode, argument, _ in pickletools.genops(stream):
        far = opcode.name.endswith("PUT") and int(argument or 0) > len(data)
        if far or opcode.name in _UNUSED_OPCODES:
            raise Refused(f"uses the pickle opcode {opcode.name}")
    return stream.tell()
