"""Packages that only exported models need: missing ones are named, never installed behind the user's back."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import checks

from swin_yolo.errors import InputError

# What to give pip for each module, where that is not its name.
_PIP_NAMES = {
    "onnx": "'onnx>=1.16,<2'",
    "onnxslim": "'onnxslim>=0.1.82'",
    "openvino": "'openvino>=2024.6'",
    "nncf": "'nncf>=2.14'",
    "pnnx": "pnnx==20260526",  # later ones write files that crash ncnn (pnnx issue 293)
}


def require(what: str, *modules: str) -> None:
    """Raise InputError, with the pip command, unless all of the modules are there.

    Args:
        what: the flag, and what of it needs them.
        modules: names as they are imported.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        command = " ".join(_PIP_NAMES.get(name, name) for name in missing)
        raise InputError(f"{what}: needs {' and '.join(missing)}, which is not installed; pip install {command}")


@contextmanager
def nothing_installed() -> Iterator[None]:
    """Keep ultralytics from running pip for what it finds missing; it warns instead."""
    before = checks.AUTOINSTALL
    checks.AUTOINSTALL = False
    try:
        yield
    finally:
        checks.AUTOINSTALL = before
