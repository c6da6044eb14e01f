"""What a .safetensors file of ours says about the detector whose weights it holds."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# safetensors headers map text to text; each value here is JSON. A file without the first key is of someone else.
FORMAT, VERSION = "swin_yolo", "1"
FIELDS = ("kind", "model_class", "yaml", "names", "stride", "train_args", "about", "sha256")

_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "model_class": str,
    "yaml": dict,
    "names": (dict, list),
    "stride": list,
    "train_args": dict,
    "about": dict,
    "sha256": dict,
}


def encode_header(fields: Mapping[str, Any]) -> dict[str, str]:
    """The header's text for `FIELDS`.

    Raises:
        ValueError: if a value has no JSON form.
    """
    return {FORMAT: VERSION, **{key: json.dumps(fields[key], ensure_ascii=False, allow_nan=False) for key in FIELDS}}


def decode_header(header: Mapping[str, str] | None) -> dict[str, Any] | None:
    """The `FIELDS` of a header, or None if it is not ours.

    Raises:
        ValueError: if it is ours and cannot be read.
    """
    if not header or FORMAT not in header:
        return None
    if header[FORMAT] != VERSION:
        raise ValueError(f"its format is {header[FORMAT]}, this swin_yolo reads {VERSION}")
    if missing := [key for key in FIELDS if key not in header]:
        raise ValueError(f"its header has no {', '.join(missing)}")
    try:
        fields = {key: json.loads(header[key]) for key in FIELDS}
    except RecursionError as e:
        raise ValueError("its header is nested too deeply") from e
    if wrong := [key for key, types in _TYPES.items() if not isinstance(fields[key], types)]:
        raise ValueError(f"its header has a {wrong[0]} that is {_json_name(fields[wrong[0]])}")
    if not all(isinstance(s, int | float) for s in fields["stride"]):
        raise ValueError("its header has a stride that is no list of numbers")
    return fields


def _json_name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), "a number")


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and values, in the order of the names; hex."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
