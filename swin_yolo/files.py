"""Files that are there whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; it takes the place of `file` at the end, or goes away on an exception.

    It keeps the suffix, by which writers such as OpenCV choose the format.
    """
    unfinished = file.with_name(f".{file.stem}.{os.getpid()}.unfinished{file.suffix}")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(file: Path, content: Any, *, indent: int | None = None) -> None:
    """Write JSON, whole or not at all; NaN is an error, since JSON has none."""
    with written_whole(file) as unfinished:
        text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def sha256(file: Path) -> str:
    """Hash of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
