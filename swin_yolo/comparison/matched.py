"""The control: a baseline made wider until it is as big as a candidate, so that size is not taken for a better idea."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from swin_yolo.engine.model import build_model, count_gflops, count_parameters, read_model_yaml
from swin_yolo.files import written_whole

from .contestants import CONTROL, Build, Contestant, contestant

WIDTH_STEP = 0.01  # about one more group of 8 channels in a layer of 1024
NEAR = 0.05  # a candidate whose size differs from the baseline's by less than this share needs no control


def control(baseline: Contestant, candidate: Contestant, *, by: str, folder: Path, build: Build) -> Contestant | None:
    """The baseline at the width that comes nearest to a candidate's size; its YAML is written into `folder`.

    Args:
        baseline: made wider or narrower; its depth stays.
        candidate: to come near to.
        by: "params" or "gflops".
        folder: for the YAML; made if missing.
        build: how models are made.

    Returns:
        None where the candidate is about as big as the baseline as it is.
    """
    measure = size_of(by)
    target, own = measure(candidate), measure(baseline)
    if abs(target - own) <= NEAR * own:
        return None
    source = read_model_yaml(baseline.cfg)

    def size(width: float) -> float:
        with tempfile.TemporaryDirectory() as temporary:
            cfg = write_at_width(source, width, Path(temporary) / f"{baseline.name}.yaml")
            model = build_model(cfg, nc=len(build.names), head=build.head)
            return count_parameters(model) if by == "params" else count_gflops(model, build.imgsz)

    width = nearest_width(size, target, start=own_width(source))
    cfg = write_at_width(source, width, folder / f"{baseline.name}-w{width:g}.yaml")
    return contestant(str(cfg), CONTROL, build)


def size_of(by: str) -> Callable[[Contestant], float]:
    """A contestant's size by "params" or "gflops"."""
    return (lambda model: model.parameters) if by == "params" else (lambda model: model.gflops)


def nearest_width(size: Callable[[float], float], target: float, *, start: float) -> float:
    """The width, a multiple of `WIDTH_STEP`, whose size comes nearest to `target`.

    Args:
        size: of a width; never falls as the width grows.
        target: size to come near to.
        start: width to begin the search at.
    """

    @cache
    def at(step: int) -> float:
        return size(width_of(step))

    def width_of(step: int) -> float:
        return round(step * WIDTH_STEP, 6)

    low = high = max(1, round(start / WIDTH_STEP))
    while at(high) < target:
        low, high = high, 2 * high
    while low > 1 and at(low) >= target:
        low, high = low // 2, low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) < target else (low, middle)
    return width_of(min((low, high), key=lambda step: abs(at(step) - target)))


def own_width(yaml_dict: dict[str, Any]) -> float:
    """The width that a model YAML, as `read_model_yaml` gives it, asks for."""
    scales = yaml_dict.get("scales")
    return float(_scale(yaml_dict)[1] if scales else yaml_dict.get("width_multiple", 1.0))


def write_at_width(yaml_dict: dict[str, Any], width: float, file: Path) -> Path:
    """Write a model YAML at another width; gives `file`."""
    rows = {key: value for key, value in yaml_dict.items() if key not in ("scale", "scales", "yaml_file")}
    if yaml_dict.get("scales"):
        depth, _, max_channels = _scale(yaml_dict)
        # By the letter in the file's name; ultralytics takes the first where there is none.
        rows["scales"] = {yaml_dict["scale"] or next(iter(yaml_dict["scales"])): [depth, width, max_channels]}
    else:
        rows["width_multiple"] = width
    head = f"# {Path(yaml_dict['yaml_file']).name} at width {width:g}: a control of the size of another model.\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as unfinished:
        unfinished.write_text(head + yaml.safe_dump(rows, sort_keys=False), encoding="utf-8")
    return file


def _scale(yaml_dict: dict[str, Any]) -> list[float]:
    scales = yaml_dict["scales"]
    return scales.get(yaml_dict["scale"]) or next(iter(scales.values()))
