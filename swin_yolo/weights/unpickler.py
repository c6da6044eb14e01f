"""Unpickling without code: nothing that a file names is imported, and nothing but `inert.CALLS` is called."""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from .inert import CALLS, Call, NumpyDtype, Ordered, Record, RecordType, Refused, key_of, sizes_of

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

# Bytes that all tensors of a file may show, each counted whole even if it shares its storage, as a multiple of the
# file's and beyond that; YOLOv5's saved grids are expanded over smaller storages.
_SHOWN, _SHOWN_BEYOND = 4, 1 << 24

_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}


class InertUnpickler(pickle._Unpickler):
    """Reads one pickle as data; see `inert`.

    The unpickler written in Python, since what it does to an object can be narrowed: that in C calls `__setstate__` of
    a tensor, and hashes any key.

    Args:
        data: the pickle; what follows its end is left unread.
        persistent: gives the object of a persistent id, which is how torch names storages.
        file_size: bytes of the whole file, which bounds the tensors.

    Raises:
        Refused: if the pickle names or calls what no checkpoint needs. Broken ones raise what `pickle` raises.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, data: bytes | memoryview, persistent: Callable[[Any], Any], file_size: int):
        self.size = check_opcodes(data)
        self._persistent = persistent
        self._classes: dict[str, type] = {}
        self._left = _SHOWN * file_size + _SHOWN_BEYOND
        super().__init__(io.BytesIO(data[: self.size]), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global: a guarded call, a dtype or a record class. Nothing is imported."""
        origin = f"{module}.{name}"
        if origin in _TENSORS:
            return Call(self._tensor)
        if origin in CALLS:
            return Call(CALLS[origin])
        if module == "torch" and name.removesuffix("Storage") in STORAGES:
            return STORAGES[name.removesuffix("Storage")]
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if origin not in RECORDS and not origin.startswith(RECORD_PACKAGES):
            raise Refused(f"names {origin}")
        if origin not in self._classes:
            self._classes[origin] = RecordType(name, (Record,), {"__slots__": (), "origin": origin})
        return self._classes[origin]

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a persistent id."""
        return self._persistent(pid)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        if not isinstance(storage, Tensor):
            raise Refused("builds a tensor of something else than a storage")
        shape, steps, (start,) = sizes_of(size), sizes_of(stride), sizes_of((offset,))
        self._left -= math.prod(shape) * storage.itemsize
        if self._left < 0:
            raise Refused("holds tensors of far more elements than its storages")
        return torch.as_strided(storage, shape, steps, start)

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Record | Ordered | Call | NumpyDtype):
            raise Refused(f"sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    def _reduce(self) -> None:
        args = self.stack.pop()
        if not isinstance(self.stack[-1], Call | RecordType):
            raise Refused(f"calls a {type(self.stack[-1]).__name__}")
        self.stack[-1] = self.stack[-1](*args)

    def _new_object(self) -> None:
        args = self.stack.pop()
        if not isinstance(self.stack[-1], RecordType) or args:
            raise Refused("makes an object of something else than a class")
        self.stack[-1] = self.stack[-1]()

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._put(self.stack[-1], items)

    def _new_dict(self) -> None:
        made: dict[Any, Any] = {}
        self._put(made, self.pop_mark())
        self.stack.append(made)

    @staticmethod
    def _put(target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            raise Refused(f"sets an item of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key_of(key)] = value

    def _add_items(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise Refused(f"adds to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(map(key_of, items))

    def _new_frozenset(self) -> None:
        self.stack.append(frozenset(map(key_of, self.pop_mark())))

    for _code, _read in {
        pickle.BUILD: _build,
        pickle.REDUCE: _reduce,
        pickle.NEWOBJ: _new_object,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_items,
        pickle.DICT: _new_dict,
        pickle.ADDITEMS: _add_items,
        pickle.FROZENSET: _new_frozenset,
    }.items():
        dispatch[_code[0]] = _read


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
