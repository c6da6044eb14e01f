"""What `--source` names: images, videos, folders, patterns, lists of those, a camera or a stream."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

from swin_yolo.errors import InputError

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "tcp", "udp")
LIST_FORMATS = ("txt", "streams")
Kind = Literal["image", "video", "stream"]


@dataclass(frozen=True)
class Source:
    """One thing to open.

    Attributes:
        kind: "stream" is a camera or a URL.
        address: path, URL, or number of a camera.
        stem: what files written for it are called, without suffix; no two sources of a run have the same.
    """

    kind: Kind
    address: str | int
    stem: str

    @property
    def shown(self) -> str:
        """The address as it may be printed and written: without the user and password of a URL."""
        if self.kind != "stream":
            return str(self.address)
        if isinstance(self.address, int):
            return f"camera {self.address}"
        return re.sub(r"//[^/@]*@", "//", self.address)


def find_sources(source: str | Path | Sequence[str | Path]) -> list[Source]:
    """Everything that `--source` names, in the order given, a folder's and a pattern's files by name.

    Args:
        source: one or more of: image or video file, folder, pattern such as "clips/*.mp4", .txt file with one of
            these per line, number of a camera, URL.

    Raises:
        InputError: if there is no such file, if nothing is in it, or if there are two live sources.
    """
    texts = [source] if isinstance(source, str | Path) else source
    found = [each for text in texts for each in _named(str(text), "--source")]
    live = [each for each in found if each.kind == "stream"]
    if len(live) > 1:
        raise InputError(f"--source: expected at most one camera or URL, got {live[0].shown} and {live[1].shown}")
    return list(_with_own_stems(found))


def _named(text: str, where: str) -> Iterator[Source]:
    """What one argument, or one line of a list, stands for; `where` leads messages."""
    path = Path(text).expanduser()
    suffix = path.suffix.lower().lstrip(".")
    if urlsplit(text).scheme.lower() in SCHEMES:
        yield Source("stream", text, _stem_of_url(text))
    elif path.is_dir():
        files = [file for file in sorted(path.iterdir()) if _kind(file) and file.is_file()]
        if not files:
            raise InputError(f"{where} {text}: no image or video in this folder; expected {_formats()}")
        yield from map(_file, files)
    elif path.is_file():
        if suffix in LIST_FORMATS:
            yield from _listed(path)
        elif _kind(path):
            yield _file(path)
        else:
            raise InputError(f"{where} {text}: expected an image, video or list, got a .{suffix} file; {_formats()}")
    elif text.isdigit():
        yield Source("stream", int(text), f"camera{text}")
    elif has_magic(text):
        files = [Path(name) for name in sorted(glob(str(path), recursive=True)) if _kind(Path(name))]
        if not files:
            raise InputError(f"{where} {text}: no image or video has such a name")
        yield from map(_file, files)
    else:
        raise InputError(f"{where} {text}: no such file, folder, camera number or URL")


def _listed(file: Path) -> Iterator[Source]:
    """The sources of a list file; paths are relative to the working folder or, if not there, to the list's folder."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--source {file}: expected a text file with a source per line: {e}") from e
    found = False
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        found = True
        beside = file.parent / line
        if Path(line).suffix.lower().lstrip(".") in LIST_FORMATS:
            raise InputError(f"--source {file}, line {number}: a list in a list, {line}")
        yield from _named(
            str(beside) if not Path(line).exists() and beside.exists() else line, f"{file}, line {number}:"
        )
    if not found:
        raise InputError(f"--source {file}: the list is empty")


def _file(path: Path) -> Source:
    return Source("image" if _kind(path) == "image" else "video", str(path), path.stem)


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower().lstrip(".")
    return "image" if suffix in IMG_FORMATS else "video" if suffix in VID_FORMATS else None


def _stem_of_url(url: str) -> str:
    """Host and last part of the path, fit for a file name; nothing of user, password and query."""
    parts = urlsplit(url)
    name = f"{parts.hostname or parts.scheme}_{Path(parts.path).stem}"
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def _with_own_stems(sources: Sequence[Source]) -> Iterator[Source]:
    """The sources, with -2, -3 ... behind stems that came before."""
    taken: set[str] = set()
    for source in sources:
        stem, number = source.stem, 1
        while stem.lower() in taken:  # file systems may not tell a.jpg from A.jpg
            number += 1
            stem = f"{source.stem}-{number}"
        taken.add(stem.lower())
        yield replace(source, stem=stem)


def _formats() -> str:
    return f"images are {', '.join(sorted(IMG_FORMATS))}, videos {', '.join(sorted(VID_FORMATS))}"
