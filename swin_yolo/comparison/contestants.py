"""The models of a comparison: their names, what they are and what they cost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_yolo.engine.model import build_model, count_gflops, count_parameters
from swin_yolo.engine.train import load_weights_into
from swin_yolo.errors import InputError
from swin_yolo.weights import LoadReport
from swin_yolo.weights.report import LEFT_OVER, LOADED, RESIZED

BASELINE, CANDIDATE, CONTROL = "baseline", "candidate", "control"


@dataclass(frozen=True)
class Contestant:
    """A model of a comparison that is trained.

    Attributes:
        name: by which the comparison calls it, and its runs.
        role: baseline, candidate or control (a baseline as big as a candidate).
        cfg: its YAML as `train` takes it.
        yaml: what the YAML holds, head and number of classes put in.
        parameters: all of them, with the dataset's classes.
        gflops: of one image.
        taken: share of its numbers that it takes from the weights that all start from, 0..1; None without any.
    """

    name: str
    role: str
    cfg: str
    yaml: dict[str, Any]
    parameters: int
    gflops: float
    taken: float | None = None


@dataclass(frozen=True)
class Build:
    """How every model of a comparison is made.

    Attributes:
        names: of the dataset's classes, by class index.
        imgsz: image side that GFLOPs are of.
        head: see `build_model`.
        parent: weights that all start from; None for fresh ones.
        trust: see `load_weights`.
    """

    names: Mapping[int, str]
    imgsz: int
    head: str | None = None
    parent: Path | None = None
    trust: bool = False


def contestant(cfg: str, role: str, build: Build) -> Contestant:
    """A model by its YAML.

    Raises:
        InputError: if there is no such YAML, a row of it is wrong, `imgsz` does not fit it, or `parent` is no weights
            file that fits it.
    """
    model = build_model(cfg, nc=len(build.names), head=build.head)
    taken = None
    if build.parent is not None:
        model.names = dict(build.names)
        taken = _share(load_weights_into(model, build.parent, trust=build.trust, flag="--from"))
    return Contestant(
        Path(cfg).stem,
        role,
        cfg,
        model.yaml,
        count_parameters(model),
        round(count_gflops(model, build.imgsz), 3),
        taken,
    )


def _share(report: LoadReport) -> float:
    """Of a model's numbers, how many are the file's, 0..1."""
    sizes = [(math.prod(entry.shape), entry.status) for entry in report.entries if entry.status != LEFT_OVER]
    return sum(n for n, status in sizes if status in (LOADED, RESIZED)) / max(sum(n for n, _ in sizes), 1)


def contestants(cfgs: Sequence[str], build: Build) -> list[Contestant]:
    """The models of several YAMLs, the first of which is the baseline.

    Raises:
        InputError: as `contestant` does, or if two have one name.
    """
    twice = [stem for stem, number in Counter(Path(cfg).stem for cfg in cfgs).items() if number > 1]
    if twice:
        raise InputError(f"--cfg: expected models of different names, got {twice[0]} twice")
    roles = [BASELINE, *[CANDIDATE] * (len(cfgs) - 1)]
    return [contestant(cfg, role, build) for cfg, role in zip(cfgs, roles, strict=True)]


def names_of_files(files: Sequence[Path]) -> list[str]:
    """A name for each weights file: its stem, or its run's where it is a run's best or last; longer where two agree.

    Raises:
        InputError: if a file is named twice.
    """
    names = [_short_name(file) for file in files]
    for longer in (lambda file: file.name, lambda file: str(file)):
        twice = {name for name, number in Counter(names).items() if number > 1}
        names = [longer(file) if name in twice else name for file, name in zip(files, names, strict=True)]
    if len(set(names)) < len(names):
        raise InputError(f"--weights: expected different files, got {Counter(names).most_common(1)[0][0]} twice")
    return names


def _short_name(file: Path) -> str:
    """A run is better known by its folder than by "best"."""
    if file.stem in ("best", "last") and file.absolute().parent.name == "weights":
        return file.absolute().parent.parent.name or file.stem
    return file.stem


def same_model(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Where two model dictionaries differ, for a message; None if they are one model, whatever their files' names."""
    a, b = _resolved(ours), _resolved(theirs)
    for part in ("backbone", "head"):
        offset = 0 if part == "backbone" else len(a["backbone"])
        for i, (row, other) in enumerate(zip(a[part], b[part], strict=False)):
            if row != other:
                return f"row {i + offset} {other}, not {row}"
    key = next((key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)), None)
    return None if key is None else f"{key} {_brief(b.get(key))}, not {_brief(a.get(key))}"


def _resolved(yaml: dict[str, Any]) -> dict[str, Any]:
    """A model dictionary without names of files, and with the one scale that counts."""
    kept = {key: value for key, value in yaml.items() if key not in ("yaml_file", "scales", "scale")}
    if scales := yaml.get("scales"):
        kept["scale"] = list(scales.get(yaml.get("scale")) or next(iter(scales.values())))
    return kept


def _brief(value: Any) -> str:
    return f"of {len(value)} rows" if isinstance(value, list) and len(value) > 3 else repr(value)
