"""The one door into ultralytics' YAML parser: lets model YAMLs name our layers.

ultralytics 8.4 has no registration hook, and its parser decides by lists local to one function which layers are scaled
in width and depth. So a YAML is parsed with a stand-in of the same row grammar in each of our rows (C3 for stages, Conv
for the patch layers, Identity for the norm, Detect for the head); channels and depth, scaled by ultralytics, are read
off the stand-in, and our layer takes its place before strides are computed. An Identity does not know its channels, so
a BatchNorm2d that reads from it is parsed behind the last row, asked and thrown away. Nothing of the parser is copied.
"""

import ast
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ultralytics.engine.model as ultralytics_model
import ultralytics.nn as ultralytics_nn
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from ..errors import InputError
from ..paths import shipped_dir
from .activation import activation_layer, default_activation
from .anchor import AnchorDetect
from .anchor_loss import AnchorLoss
from .c3str import C3STR
from .patch import LayerNorm2d, PatchEmbed, PatchMerging
from .swin import SwinStage

_MARK = "_swin_yolo_wrapper"


@dataclass(frozen=True)
class RowKind:
    """How one of our layers is read from a YAML row.

    Attributes:
        stand_in: the ultralytics layer whose row grammar it shares.
        channels: (c1, c2) read off the built stand-in, or (C,) off the probe behind a layer that keeps its channels.
        depth: the scaled depth read off the stand-in; None where a row cannot be repeated.
        keeps_channels: whether the output has the input's channels; else the first argument is c2.
        levels: channels of each row that a head reads, off the stand-in; None for a layer that reads one row. A head's
            first argument is nc.
    """

    stand_in: str
    channels: Callable[[Any], tuple[int, ...]]
    depth: Callable[[Any], int] | None = None
    keeps_channels: bool = False
    levels: Callable[[Any], list[int]] | None = None


_LIKE_C3 = RowKind("C3", lambda m: (m.cv1.conv.in_channels, m.cv3.conv.out_channels), lambda m: len(m.m))
_LIKE_CONV = RowKind("Conv", lambda m: (m.conv.in_channels, m.conv.out_channels))
_LIKE_NORM = RowKind("nn.Identity", lambda probe: (probe.num_features,), keeps_channels=True)
_LIKE_DETECT = RowKind("Detect", lambda m: (m.nc,), levels=lambda m: [branch[0].conv.in_channels for branch in m.cv2])

LAYERS: dict[str, tuple[type[nn.Module], RowKind]] = {
    "SwinStage": (SwinStage, _LIKE_C3),
    "C3STR": (C3STR, _LIKE_C3),
    "PatchEmbed": (PatchEmbed, _LIKE_CONV),
    "PatchMerging": (PatchMerging, _LIKE_CONV),
    "LayerNorm2d": (LayerNorm2d, _LIKE_NORM),
    "AnchorDetect": (AnchorDetect, _LIKE_DETECT),
}


def register() -> None:
    """Let model YAMLs name our layers, find our YAMLs by name, and train our head with its own loss.

    `swin_yolo/__init__.py` calls it, so that spawned workers and unpickled checkpoints have it too. Calling it again
    changes nothing.

    Raises:
        RuntimeError: if ultralytics already has another layer of one of our names, or its parser moved.
    """
    needed = ("parse_model", "yaml_model_load", "guess_model_scale", "DetectionModel")
    missing = [n for n in needed if not hasattr(tasks, n)]
    if missing:
        raise RuntimeError(
            f"ultralytics.nn.tasks has no {', '.join(missing)}; swin_yolo needs ultralytics>=8.4.190,<8.5"
        )
    if hasattr(tasks.parse_model, _MARK):
        return
    taken = [name for name in LAYERS if hasattr(tasks, name)]
    if taken:
        raise RuntimeError(f"ultralytics.nn.tasks already has a layer named {', '.join(taken)}")
    _replace("parse_model", _wrap_parse_model(tasks.parse_model))
    _replace("yaml_model_load", _wrap_yaml_model_load(tasks.yaml_model_load))
    tasks.DetectionModel.init_criterion = _wrap_init_criterion(tasks.DetectionModel.init_criterion)


def _replace(name: str, wrapper: Callable) -> None:
    """Put `wrapper` wherever ultralytics has bound its function of that name."""
    setattr(wrapper, _MARK, True)
    original = getattr(tasks, name)
    for module in (tasks, ultralytics_nn, ultralytics_model):
        if getattr(module, name, None) is original:
            setattr(module, name, wrapper)


def _wrap_parse_model(parse_model: Callable) -> Callable:
    def parse(d: dict[str, Any], ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
        """The parse_model of ultralytics, with our layers in the rows that name them."""
        rows = [*d["backbone"], *d["head"]]
        where = d.get("yaml_file", "model YAML")
        for i, row in enumerate(rows):
            _check_row(f"{where}: row {i}", row)
            _check_source(f"{where}: row {i}", row[0], i)
        if d.get("activation") is not None:
            activation = activation_layer(d["activation"], where)
            with default_activation(activation):  # built here, and kept from the parser, which would evaluate it
                return parse({k: v for k, v in d.items() if k != "activation"}, ch, verbose)
        ours = {i: row for i, row in enumerate(rows) if row[2] in LAYERS}
        if not ours:
            return parse_model(d, ch, verbose)
        probed = [i for i, row in ours.items() if LAYERS[row[2]][1].keeps_channels]
        with _held_log() as lines:
            parsed, save = parse_model(_with_stand_ins(d, probed), ch, verbose)
        layers, probes = parsed[: len(rows)], dict(zip(probed, parsed[len(rows) :], strict=True))
        summaries = {}
        for i, row in ours.items():
            stand_in, kind = layers[i], LAYERS[row[2]][1]
            label = f"{where}: row {i} ({row[2]})"
            layers[i], args = _build(label, _with_anchors(label, row, d), stand_in, probes.get(i, stand_in))
            depth = kind.depth(stand_in) if kind.depth else 1
            summaries[i] = f"{depth:>3}{layers[i].np:10.0f}  {layers[i].type:<45}{args!s:<30}"
        for line in lines:
            i = int(line.split()[0]) if re.match(r"\s*\d+ ", line) else -1
            if i in ours:
                line = f"{i:>3}{layers[i].f!s:>20}{summaries[i]}"
            if i < len(rows):
                LOGGER.info(line)
        return layers, sorted(_read_rows(rows) & set(save))

    return parse


def _check_row(where: str, row: Any) -> None:
    """Raise InputError unless a row has ultralytics' form and names a layer that exists."""
    if not isinstance(row, list) or len(row) != 4 or not isinstance(row[3], list):
        raise InputError(f"{where}: expected [from, repeats, layer, [arguments]], got {row}")
    source, repeats, name, args = row
    if not isinstance(name, str) or name not in LAYERS:
        if not isinstance(name, str) or not ("." in name or hasattr(tasks, name)):
            raise InputError(f"{where}: unknown layer {name!r}; ours are {', '.join(LAYERS)}, others are ultralytics'")
        return
    kind = LAYERS[name][1]
    if kind.levels is not None and not isinstance(source, list):
        raise InputError(f"{where}: {name} expected a list of row numbers as 'from', got {source}")
    if kind.levels is None and not isinstance(source, int):
        raise InputError(f"{where}: {name} expected one row number as 'from', got {source}")
    if not isinstance(repeats, int) or repeats < 1 or (kind.depth is None and repeats != 1):
        expected = "1 repeat" if kind.depth is None else "a depth of at least 1"
        raise InputError(f"{where}: {name} expected {expected}, got {repeats}")
    if kind.levels is not None:
        if len(args) != 2:
            raise InputError(f"{where}: {name} expected [nc, anchors], got {args}")
    elif not kind.keeps_channels and not (
        args and isinstance(args[0], int) and not isinstance(args[0], bool) and args[0] > 0
    ):
        raise InputError(f"{where}: {name} expected [c2, ...] with the output channels first, got {args}")


def _check_source(where: str, source: Any, i: int) -> None:
    """Raise InputError unless row `i` reads rows that are before it; -1 of the first row is the image."""
    for x in source if isinstance(source, list) else [source]:
        if not isinstance(x, int) or isinstance(x, bool) or not (-i <= x < i or (i == 0 and x == -1)):
            raise InputError(f"{where}: 'from' expected rows before it, from {-max(i, 1)} to {i - 1}, got {source}")


def _with_stand_ins(d: dict[str, Any], probed: list[int]) -> dict[str, Any]:
    """The model dictionary with stand-ins in our rows, and a probe of the channels of each `probed` row at the end."""
    d = deepcopy(d)
    for row in (*d["backbone"], *d["head"]):
        if row[2] in LAYERS:
            kind = LAYERS[row[2]][1]
            row[2:] = [kind.stand_in, [] if kind.keeps_channels else row[3][:1]]
    d["head"] += [[i, 1, "nn.BatchNorm2d", []] for i in probed]
    return d


def _with_anchors(where: str, row: list, d: dict[str, Any]) -> list:
    """The row, with the YAML's key 'anchors' where it names it."""
    if "anchors" not in row[3]:
        return row
    if "anchors" not in d:
        raise InputError(f"{where}: expected a key 'anchors' in the YAML, a list of widths and heights for each level")
    return [*row[:3], [d["anchors"] if arg == "anchors" else arg for arg in row[3]]]


def _read_rows(rows: list[list]) -> set[int]:
    """Numbers of the rows whose output a later row names."""
    sources = ((i, row[0] if isinstance(row[0], list) else [row[0]]) for i, row in enumerate(rows))
    return {x % i for i, row_sources in sources for x in row_sources if x != -1 and i}


def _build(where: str, row: list, stand_in: Any, probe: Any) -> tuple[Any, list]:
    """Our layer of a row, with the parser's bookkeeping carried over from its stand-in, and the arguments it took."""
    cls, kind = LAYERS[row[2]]
    args = list(kind.channels(probe))
    if kind.depth is not None:
        args.append(kind.depth(stand_in))
    extra = [literal(a) for a in row[3][0 if kind.keeps_channels else 1 :]]
    keywords = extra.pop() if extra and isinstance(extra[-1], dict) else {}
    if kind.levels is not None:
        extra.append(kind.levels(stand_in))
    try:
        bound = inspect.signature(cls).bind(*args, *extra, **keywords)
        with default_activation(getattr(getattr(stand_in, "cv1", stand_in), "act", tasks.Conv.default_act)):
            layer: Any = cls(*bound.args, **bound.kwargs)
    except (TypeError, ValueError) as e:
        raise InputError(f"{where}: {e}; its arguments are {_signature(cls)}, got {row[3]}") from e
    layer.i, layer.f, layer.type = stand_in.i, stand_in.f, f"{cls.__module__}.{cls.__qualname__}"
    layer.np = sum(p.numel() for p in layer.parameters())
    return layer, [*args, *extra, *([keywords] if keywords else [])]


def _signature(cls: type[nn.Module]) -> str:
    """The YAML arguments of a layer, with their defaults."""
    hidden = {"c1", "ch", "n", "depth", "eps", "elementwise_affine", "bias", "device", "dtype", "normalized_shape"}
    params = [p for p in inspect.signature(cls).parameters.values() if p.name not in hidden]
    return "[" + ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in params) + "]"


def literal(value: Any) -> Any:
    """Strings such as 'None' as ultralytics reads them in its own rows."""
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
    return value


@contextmanager
def _held_log() -> Iterator[list[str]]:
    """Hold back what ultralytics logs at INFO and give the lines; warnings pass."""
    lines: list[str] = []

    def hold(record: logging.LogRecord) -> bool:
        if record.levelno != logging.INFO:
            return True
        lines.append(record.getMessage())
        return False

    LOGGER.addFilter(hold)
    try:
        yield lines
    finally:
        LOGGER.removeFilter(hold)


def _wrap_yaml_model_load(yaml_model_load: Callable) -> Callable:
    def load(path: str | Path) -> dict[str, Any]:
        """The yaml_model_load of ultralytics, which also finds the YAMLs that come with swin_yolo."""
        try:
            return yaml_model_load(path)
        except FileNotFoundError:
            file = _find_yaml(Path(path))
            if file is None:
                raise
        return {**yaml_model_load(file), "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}

    return load


def _wrap_init_criterion(init_criterion: Callable) -> Callable:
    def criterion(self: tasks.DetectionModel) -> Any:
        """The loss of a detection model: YOLOv5's where it has YOLOv5's head."""
        head = self.model[-1]
        if not isinstance(head, AnchorDetect):
            return init_criterion(self)
        args = self.args if isinstance(self.args, Mapping) else vars(self.args)
        gains = {key: args[key] for key in ("anchor_box", "anchor_obj", "anchor_cls", "anchor_t") if key in args}
        return AnchorLoss(head, imgsz=args["imgsz"], class_weights=getattr(self, "class_weights", None), **gains)

    return criterion


def _find_yaml(path: Path) -> Path | None:
    """File of a model name such as yolov5s-swin.yaml: beside the path given, or for a bare name, among our own.

    The scale letter is taken out of the file's name only. ultralytics looks for it in the whole path, and so does not
    find yolov5-own.yaml in a folder named run2s.
    """
    unified = re.sub(r"(\d+)[nslmx](?=\W|$)", r"\1", path.stem, count=1) + path.suffix
    folders = [path.parent, *([shipped_dir("models")] if path.parent == Path() else [])]
    return next((f for folder in folders for f in (folder / path.name, folder / unified) if f.is_file()), None)
