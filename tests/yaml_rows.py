"""Model YAMLs of a few rows, and the parser of ultralytics without ours around it."""

import inspect
import logging
from contextlib import contextmanager

from ultralytics.nn import tasks
from ultralytics.utils import LOGGER


def tiny_yaml(row, *, at=3, **keys) -> dict:
    """Model dictionary of a few rows, one of them given; depth and width are halved."""
    rows = [
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 4, "C3", [128]],
        [-1, 1, "Conv", [64, 1]],
    ]
    rows[at] = row
    return {"nc": 2, "scales": {"n": [0.5, 0.5, 1024]}, "scale": "n", "backbone": rows, **keys} | {
        "head": [[[at, -1], 1, "Detect", [2]]],
        "yaml_file": "own.yaml",
    }


def unwrapped(name: str, module=tasks):
    """The function of ultralytics that ours of this name calls."""
    return inspect.getclosurevars(getattr(module, name)).nonlocals[name]


@contextmanager
def ultralytics_log():
    """Lines that ultralytics logs inside."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.extend(record.getMessage().splitlines())
    LOGGER.addHandler(handler)
    try:
        yield lines
    finally:
        LOGGER.removeHandler(handler)
