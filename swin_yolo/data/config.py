"""From `--data` to the splits of a dataset: a shipped name, a dataset YAML, or a folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swin_yolo.data.demo import demo_dir, make_demo
from swin_yolo.data.folders import Split, splits_of_folder
from swin_yolo.errors import InputError
from swin_yolo.paths import shipped_dir

_SPLITS = ("train", "val", "test")
_KEYS = ("path", *_SPLITS, "source", "licence", "generate", "seed")


@dataclass(frozen=True)
class DatasetConfig:
    """Where the splits of a dataset are; `source` is the YAML or folder that said so."""

    source: Path
    splits: dict[str, Split]

    def split(self, name: str) -> Split:
        """One split by name.

        Raises:
            InputError: there is none of that name; lists those there are.
        """
        if name not in self.splits:
            raise InputError(f"{self.source}: has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def load_config(data: str | Path) -> DatasetConfig:
    """The splits of a dataset.

    Args:
        data: a dataset YAML, a folder (see `splits_of_folder`), or the name of a shipped YAML, with or without
            ".yaml". A file or folder of that name goes before a shipped one.

    Raises:
        InputError: nothing of that name, a YAML that is not understood, or the data is in none of the places.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        return DatasetConfig(path, splits_of_folder(path))
    shipped = shipped_dir("data") / f"{path.name.removesuffix('.yaml')}.yaml"
    if not path.is_file() and path.name == str(path) and shipped.is_file():
        path = shipped
    if not path.is_file():
        names = ", ".join(sorted(file.name for file in shipped_dir("data").glob("*.yaml")))
        raise InputError(f"{data}: no dataset YAML or folder of that name; shipped with the package are {names}")
    return _from_yaml(path)


def _from_yaml(file: Path) -> DatasetConfig:
    content = _read_yaml(file)
    named = [name for name in _SPLITS if name in content]
    if not named:
        raise InputError(f"{file}: expected at least one of the splits {', '.join(_SPLITS)}, got none")
    root = _root(file, content)
    return DatasetConfig(file, {name: _split(file, name, content[name], root) for name in named})


def _read_yaml(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read as a dataset YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected a dataset YAML with the keys {', '.join(_KEYS)}, got {content!r:.60}")
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        classes = "; class names come from the JSON's categories" if {"names", "nc"} & set(unknown) else ""
        raise InputError(f"{file}: unknown keys {', '.join(unknown)}; known are {', '.join(_KEYS)}{classes}")
    return content


def _split(file: Path, name: str, value: Any, root: Path) -> Split:
    keys = {"images", "annotations"}
    if not isinstance(value, dict) or set(value) != keys or not all(isinstance(value[key], str) for key in keys):
        raise InputError(
            f"{file}: {name}: expected {{images: FOLDER, annotations: FILE.json}} relative to 'path', got {value!r}"
        )
    return Split(root / value["images"], root / value["annotations"])


def _root(file: Path, content: Mapping[str, Any]) -> Path:
    """The folder that the splits' paths are relative to; the built-in set is made here on first use."""
    if "generate" in content:
        return _generated(file, content)
    if "seed" in content:
        raise InputError(f"{file}: 'seed' belongs to 'generate: demo', which this file has not")
    path = content.get("path", ".")
    if not isinstance(path, str):
        raise InputError(f"{file}: path: expected the name of a folder, got {path!r}")
    relative = Path(path).expanduser()
    places = list(dict.fromkeys(base / relative for base in (file.parent, Path(), _data_dir())))
    for place in places:
        if place.is_dir():
            return place
    source = f" (source: {content['source']})" if content.get("source") else ""
    raise InputError(
        f"{file}: its data is in none of {', '.join(str(place.absolute()) for place in places)}; "
        f"get it{source} and put it there, or set SWIN_YOLO_DATA to the folder that holds {path!r}"
    )


def _generated(file: Path, content: Mapping[str, Any]) -> Path:
    seed = content.get("seed", 0)
    if content["generate"] != "demo" or "path" in content:
        raise InputError(f"{file}: generate: expected 'demo' and no 'path', got {content['generate']!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"{file}: seed: expected a whole number from 0 up, got {seed!r}")
    return make_demo(demo_dir(seed), seed=seed)


def _data_dir() -> Path:
    """Where data sets are looked for by name: $SWIN_YOLO_DATA, or ./datasets."""
    return Path(os.environ.get("SWIN_YOLO_DATA") or "datasets")
