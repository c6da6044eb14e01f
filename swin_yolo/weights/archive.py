"""The containers of torch.save: a zip since torch 1.6, one pickle after the other before; read by `inert`.

Sizes are checked before anything is read, so that a small file cannot unfold into a large one.
"""

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .inert import Refused
from .unpickler import InertUnpickler

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# What torch.save writes into its zip, below one folder: the pickle, the storages, and marks of the format.
_ENTRY = re.compile(r"data\.pkl|version|byteorder|data/\d+|\.[\w/.]+")


class NotACheckpointError(Exception):
    """Why a file cannot be what torch.save wrote; the message completes "the file ..."."""


def load_archive(file: Path) -> Any:
    """What torch.save wrote, modules as inert records.

    Raises:
        NotACheckpointError: if the file is none of its containers.
        Refused: if it holds what no checkpoint needs. Broken files raise what the readers below raise.
    """
    data = memoryview(file.read_bytes())
    if data[:4] == _ZIP_MAGIC:
        return _load_zip(data)
    if data[:1] == b"\x80":
        return _load_legacy(data)
    raise NotACheckpointError("is neither a zip nor a pickle of torch.save" if len(data) else "is empty")


def _load_zip(data: memoryview) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        folder = _check_entries(archive, len(data))
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise NotACheckpointError("is of a big-endian machine")

        def read(key: str, dtype: torch.dtype, numel: int) -> Tensor:
            return _storage(archive.read(f"{folder}/data/{key}"), dtype, numel)

        return InertUnpickler(archive.read(f"{folder}/data.pkl"), _storages(read), len(data)).load()


def _check_entries(archive: zipfile.ZipFile, size: int) -> str:
    """The folder inside a zip of torch.save.

    Raises:
        NotACheckpointError: if it is no such zip.
        Refused: if it holds other files too, or its entries unfold into more than the file's size.
    """
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        raise NotACheckpointError("is a TorchScript archive")
    if not any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        raise NotACheckpointError("is a zip without a data.pkl in its folder")
    folder = names[0].partition("/")[0]
    if strange := [n for n in names if not n.startswith(f"{folder}/") or not _ENTRY.fullmatch(n[len(folder) + 1 :])]:
        raise Refused(f"holds {strange[0]!r}, which torch.save does not write")
    if len(set(names)) != len(names):
        raise Refused("holds two entries of one name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Refused("is compressed, which torch.save does not do")
    if sum(entry.file_size for entry in entries) > size:
        raise Refused("unfolds into more than its size")
    return folder


def _load_legacy(data: memoryview) -> Any:
    """torch.save's format before 1.6: magic number, version, machine, object, storage keys, then the storages."""
    found: dict[str, Tensor] = {}

    def read(key: str, dtype: torch.dtype, numel: int) -> Tensor:
        taken = sum(tensor.nbytes for tensor in found.values())
        if numel < 0 or taken + numel * dtype.itemsize > len(data):
            raise Refused("unfolds into more than its size")
        found[key] = torch.empty(numel, dtype=dtype)
        return found[key]

    persistent, position = _storages(read), 0
    values = []
    for _ in range(5):
        unpickler = InertUnpickler(data[position:], persistent, len(data))
        values.append(unpickler.load())
        if len(values) == 1 and values[0] != _LEGACY_MAGIC:
            raise NotACheckpointError("is a pickle that torch.save did not write")
        position += unpickler.size
    _, protocol, machine, content, keys = values
    if protocol != _LEGACY_PROTOCOL or not machine["little_endian"]:
        raise NotACheckpointError("is of a torch too old, or of a big-endian machine")
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys) or sorted(keys) != sorted(found):
        raise Refused("has storages without bytes, or bytes without a storage")
    for key in keys:
        target = found[key]
        (numel,) = struct.unpack_from("<q", data, position)
        position += 8
        target.copy_(_storage(data[position : position + target.nbytes], target.dtype, numel))
        position += target.nbytes
    return content


def _storage(data: bytes | memoryview, dtype: torch.dtype, numel: int) -> Tensor:
    """Flat tensor of a copy of a storage's bytes."""
    expected = numel * dtype.itemsize
    if len(data) != expected:
        raise NotACheckpointError(f"has a storage of {len(data)} bytes where it announces {expected}")
    return torch.frombuffer(bytearray(data), dtype=dtype) if numel else torch.empty(0, dtype=dtype)


def _storages(read: Callable[[str, torch.dtype, int], Tensor]) -> Callable[[Any], Any]:
    """The persistent_load of a checkpoint: each storage read once, by its key."""
    known: dict[str, Tensor] = {}

    def persistent(pid: Any) -> Any:
        if pid[0] == "module":  # before torch 1.6: a class and its source code, which is left alone
            return pid[1]
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            raise Refused("holds a kind of storage that is not known")
        if not isinstance(key, str) or type(numel) is not int:
            raise Refused("holds a storage without a name or a size")
        if key not in known:
            known[key] = read(key, dtype, numel)
        if known[key].dtype != dtype:
            raise Refused("reads one storage as two types")
        return known[key]

    return persistent
