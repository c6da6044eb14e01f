"""Files that would take all memory."""

import pickle
import struct
import zipfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_detectors import CONV_ONLY, detector
from torch import nn
from weight_files import assert_same_tensors, refusal, write_detector

from swin_yolo.weights import load_model, read_checkpoint


def bomb_of_a_compressed_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(30_000_000))


def bomb_of_a_declared_size(file: Path) -> None:
    torch.save({"a": torch.ones(10)}, file)
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        at = archive.start_dir
    struct.pack_into("<II", data, at + 20, 2_000_000_000, 2_000_000_000)  # of the first entry of the directory
    file.write_bytes(data)


def bomb_of_a_legacy_storage(file: Path) -> None:
    torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    assert data.count(b"K\x03N") == 1  # the announced number of elements, before the view's None
    file.write_bytes(data.replace(b"K\x03N", b"\x8a\x05\x00\x00\x00\x00\x7fN"))


def bomb_of_an_expanded_tensor(file: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, file)


def bomb_of_a_memo_slot(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}r\xff\xff\xff\x7f.")


def bomb_of_shared_modules(file: Path) -> None:
    module = nn.Linear(1, 1)
    for _ in range(40):
        module = nn.Sequential(module, module)
    torch.save(module, file)


def bomb_of_shared_lists(file: Path) -> None:
    values = [0]
    for _ in range(45):
        values = [values] * 9
    torch.save({"state_dict": {"a": torch.ones(1)}, "lists": values}, file)


def opcodes(*parts: object) -> bytes:
    """Pickle opcodes: bytes as they are, text as a global, other values as `pickle` writes them."""
    found = b""
    for part in parts:
        if isinstance(part, str):
            module, name = part.rsplit(".", 1)
            found += f"c{module}\n{name}\n".encode()
        else:
            found += part if isinstance(part, bytes) else pickle.dumps(part[0], 2)[2:-1]
    return found


STORAGE = opcodes(b"(", ["storage"], "torch.FloatStorage", ["0"], ["cpu"], [1], b"tQ")
LEGACY_STORAGE = STORAGE.removesuffix(b"tQ") + b"NtQ"
HOOKS = opcodes(b"\x89", "collections.OrderedDict", b")R")
# A value nested 40 times in itself, twice each time: few bytes, and 2^40 parts for whoever walks it.
NESTED_LIST = b"]" + b"q\x010](h\x01h\x01e" * 40
NESTED_TUPLE = b")" + b"q\x010h\x01h\x01\x86" * 40


def tensor_of(size: bytes, stride: bytes, storage: bytes = STORAGE) -> bytes:
    return opcodes("torch._utils._rebuild_tensor_v2", b"(", storage, [0], size, stride, HOOKS, b"tR")


ONE = tensor_of(opcodes([(1,)]), opcodes([(1,)]))


def write_zip(file: Path, *entries: bytes) -> None:
    """A state dictionary of opcodes: key, value, key, value, ..."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + b"".join(entries) + b"u.")
        archive.writestr("archive/data/0", bytes(4))


def write_legacy(file: Path, value: bytes, *, keys: list[str], storages: bytes) -> None:
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine)]
    content = b"\x80\x02}" + opcodes(["a"]) + value + b"s."
    file.write_bytes(b"".join([*parts, content, pickle.dumps(keys, 2), storages]))


def bomb_of_a_tensor_s_state(file: Path) -> None:
    one = tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE)
    state = opcodes(b"(", LEGACY_STORAGE, [0], [(1 << 32,)], [(1,)], b"tb")
    write_legacy(file, one + state, keys=["0"], storages=struct.pack("<q", 1) + bytes(4))


def bomb_of_a_storage_without_bytes(file: Path) -> None:
    write_legacy(file, tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE), keys=[], storages=b"")


def bomb_of_a_nested_key(file: Path) -> None:
    write_zip(file, NESTED_TUPLE, opcodes([1]), opcodes(["a"]), ONE)


def bomb_of_a_nested_key_in_a_set(file: Path) -> None:
    write_zip(file, opcodes(["b"], "builtins.set", b"]"), NESTED_TUPLE, b"a\x85R", opcodes(["a"]), ONE)


def bomb_of_a_nested_dtype(file: Path) -> None:
    write_zip(file, opcodes(["a"]), ONE, opcodes(["b"], "numpy.dtype"), NESTED_LIST, b"\x85R")


def bomb_of_a_nested_device(file: Path) -> None:
    write_zip(file, opcodes(["a"]), ONE, opcodes(["b"], "torch.device"), NESTED_LIST, b"\x85R")


def bomb_of_a_nested_size(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(NESTED_LIST, opcodes([(1,)])))


def bomb_of_a_nested_part_of_a_size(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(NESTED_LIST + b"\x85", opcodes([(1,)])))


def bomb_of_a_nested_storage_key(file: Path) -> None:
    storage = opcodes(b"(", ["storage"], "torch.FloatStorage", NESTED_LIST, ["cpu"], [1], b"tQ")
    write_zip(file, opcodes(["a"]), tensor_of(opcodes([(1,)]), opcodes([(1,)]), storage))


def bomb_of_huge_sizes(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(opcodes([(1 << 2000,) * 2000]), opcodes([(1,)])))


def bomb_of_many_expanded_buffers(file: Path) -> None:
    torch.save({f"b{i}": torch.zeros(1).expand(1 << 20) for i in range(100)}, file)


def bomb_of_many_views_of_all(file: Path) -> None:
    every = torch.zeros(1 << 20)
    torch.save({f"b{i}": every.view(1 << 20) for i in range(100)}, file)


BOMBS = {
    bomb_of_a_compressed_zip: "is compressed",
    bomb_of_a_declared_size: "unfolds into more than its size",
    bomb_of_a_legacy_storage: "unfolds into more than its size",
    bomb_of_an_expanded_tensor: "far more elements than its storages",
    bomb_of_a_memo_slot: "opcode LONG_BINPUT",
    bomb_of_shared_modules: "modules that no model has",
    bomb_of_a_tensor_s_state: "sets the state of a Tensor",
    bomb_of_a_storage_without_bytes: "storages without bytes",
    bomb_of_a_nested_key: "dictionary key that is no plain value",
    bomb_of_a_nested_key_in_a_set: "dictionary key that is no plain value",
    bomb_of_a_nested_dtype: "list where text belongs",
    bomb_of_a_nested_device: "list where text belongs",
    bomb_of_a_nested_size: "no tuple of at most 64 numbers",
    bomb_of_a_nested_part_of_a_size: "something else than numbers below 2^48",
    bomb_of_a_nested_storage_key: "storage without a name",
    bomb_of_huge_sizes: "no tuple of at most 64 numbers",
    bomb_of_many_expanded_buffers: "far more elements than its storages",
    bomb_of_many_views_of_all: "far more elements than its storages",
}


@pytest.mark.parametrize(("write", "reason"), BOMBS.items(), ids=[f.__name__ for f in BOMBS])
def test_a_bomb_is_refused(tmp_path, write, reason):
    write(tmp_path / "bomb.pt")
    message = refusal(tmp_path / "bomb.pt")
    assert reason in message and "--trust" in message


def test_what_the_bombs_are_made_of_is_read(tmp_path):
    write_zip(tmp_path / "a.pt", opcodes(["a"]), ONE)
    one = tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE)
    write_legacy(tmp_path / "b.pt", one, keys=["0"], storages=struct.pack("<q", 1) + bytes(4))
    for name in ("a.pt", "b.pt"):
        assert_same_tensors(read_checkpoint(tmp_path / name).state_dict, {"a": torch.zeros(1)})


FIRST, *OTHERS = CONV_ONLY["backbone"]
YAML_BOMBS = {
    "repeats": ({"backbone": [[-1, 10**8, "Conv", [8, 3, 1]], *OTHERS]}, "repeat 1e+08 layers"),
    "depth": ({"depth_multiple": 1e9}, "factors other than numbers"),
    "scale": ({"scales": {"n": [1e9, 1.0, 1024]}, "scale": "n"}, "factors other than numbers"),
    "factor as text": ({"depth_multiple": "9" * 9}, "factors other than numbers"),
    "negative repeats": ({"backbone": [[-1, -(10**8), "Conv", [8, 3, 1]], *OTHERS]}, "number of repeats"),
    "wide": ({"backbone": [[-1, 1, "Conv", [1 << 15, 3, 2]], [-1, 1, "Conv", [1 << 15, 3, 2]], *OTHERS]}, "parameters"),
    "classes": ({"nc": 10**9}, "larger than any has"),
    "number as text": ({"backbone": [[-1, 1, "Conv", [str(10**8), 3, 2]], *OTHERS]}, "larger than any has"),
    "channels": ({"channels": 1 << 15}, "a map of"),
    "upsampled": ({"backbone": [[-1, 1, "nn.Upsample", [None, 4096, "nearest"]], *OTHERS, FIRST]}, "a map of"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("changed", "reason"), YAML_BOMBS.values(), ids=YAML_BOMBS)
def test_a_model_yaml_that_asks_for_all_memory_is_refused(tmp_path, changed, reason, suffix):
    file = write_detector(tmp_path / f"bomb{suffix}", {**deepcopy(CONV_ONLY), **changed})
    assert reason in refusal(file, read=load_model)


def test_a_model_yaml_whose_lists_share_parts_is_refused(tmp_path):
    values = [0]
    for _ in range(45):
        values = [values] * 9
    file = write_detector(tmp_path / "bomb.pt", {**CONV_ONLY, "activation": values})
    assert "more values than any has" in refusal(file, read=load_model)


ODD_HEADERS = {
    "yaml": ([1], "yaml that is a list"),
    "model_class": (None, "model_class that is null"),
    "train_args": ("text", "train_args that is text"),
    "stride": (["x"], "stride that is no list of numbers"),
    "names": (["a"], "names of its 2 classes, got 1"),
    "sha256": ([], "sha256 that is a list"),
    "about": (["x"], "about that is a list"),
}


@pytest.mark.parametrize("key", ODD_HEADERS)
def test_a_header_of_odd_values_is_refused(tmp_path, key):
    value, reason = ODD_HEADERS[key]
    file = write_detector(tmp_path / "odd.safetensors", CONV_ONLY, **{key: value})
    assert reason in refusal(file, read=load_model)


@pytest.mark.parametrize("train_args", ["text", ["x"]])
def test_odd_training_arguments_of_a_pickle_are_refused(tmp_path, train_args):
    torch.save({"model": detector(CONV_ONLY), "train_args": train_args}, tmp_path / "odd.pt")
    assert "train_args that are no mapping" in refusal(tmp_path / "odd.pt", read=load_model)


def test_a_header_nested_too_deeply_is_refused(tmp_path):
    file = write_detector(tmp_path / "deep.safetensors", CONV_ONLY)
    with safe_open(file, "pt") as f:
        header = {**f.metadata(), "about": "[" * 100_000 + "]" * 100_000}
    save_file(load_file(file), file, metadata=header)
    assert "nested too deeply" in refusal(file)


def test_values_that_share_parts_are_read_once(tmp_path):
    bomb_of_shared_lists(tmp_path / "shared.pt")
    assert list(read_checkpoint(tmp_path / "shared.pt").state_dict) == ["a"]
