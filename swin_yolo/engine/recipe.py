"""The training recipe: defaults for all models, replaced key by key by `--hyp`."""

import math
from pathlib import Path
from typing import Any

import yaml
from ultralytics.cfg import check_cfg
from ultralytics.utils import DEFAULT_CFG_DICT

from swin_yolo.errors import InputError, one_line

# Keys that ultralytics does not know, with what they are where a run does not say (runs made before a key was).
OWN_KEYS = {
    "drop_path": 0.0,
    "clip_norm": 10.0,
    "ema_epochs": 1.0,
    "layer_decay": 1.0,
    "anchor_box": 0.05,
    "anchor_obj": 1.0,
    "anchor_cls": 0.5,
    "anchor_t": 4.0,
}

# What a run's arguments hold besides ultralytics' own: those of the recipe, and which weights it started from (file and
# sha256), with what they decided.
OWN_ARGUMENTS: dict[str, Any] = {**OWN_KEYS, "started_from": None, "trained_on": None, "pretrained_rows": []}

OPTIMIZERS = ("AdamW", "SGD")

_DEFAULT = Path(__file__).with_name("recipe.yaml")

# What a recipe may set: how a model is trained. What it is trained on, and where to, are flags.
_OPTIMISATION = {"optimizer", "lr0", "lrf", "momentum", "weight_decay", "cos_lr", "nbs"}
_WARMUP = {"warmup_epochs", "warmup_momentum", "warmup_bias_lr"}
_GAINS = {"box", "cls", "dfl"}
_ANCHOR_GAINS = {key for key in OWN_KEYS if key.startswith("anchor_")}
_COLOUR = {"hsv_h", "hsv_s", "hsv_v", "bgr"}
_GEOMETRY = {"degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "multi_scale"}
_MIXING = {"mosaic", "mixup", "cutmix", "close_mosaic"}
KEYS = _OPTIMISATION | _WARMUP | _GAINS | _COLOUR | _GEOMETRY | _MIXING | OWN_KEYS.keys()


def load_recipe(hyp: str | Path | None = None) -> dict[str, Any]:
    """The default recipe with the keys of `hyp` replaced.

    Args:
        hyp: YAML file with keys of the default recipe; None for the default.

    Raises:
        InputError: if the file is missing, is no mapping, or has a key that no recipe has or a value out of range.
    """
    recipe = yaml.safe_load(_DEFAULT.read_text(encoding="utf-8"))
    if hyp is None:
        return recipe
    try:
        own = yaml.safe_load(Path(hyp).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise InputError(f"--hyp {hyp}: expected a YAML file of recipe keys: {one_line(e)}") from e
    if not isinstance(own, dict):
        raise InputError(f"--hyp {hyp}: expected `key: value` lines, got {type(own).__name__}")
    if unknown := sorted(str(key) for key in own.keys() - KEYS):
        raise InputError(f"--hyp {hyp}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(KEYS))}")
    for key, value in own.items():
        if expected := _expected(key, value):
            raise InputError(f"--hyp {hyp}: {key} expected {expected}, got {value!r}")
    try:
        check_cfg({key: value for key, value in own.items() if key not in OWN_KEYS})
    except (TypeError, ValueError) as e:
        raise InputError(f"--hyp {hyp}: {one_line(e)}") from e
    return {**recipe, **own}


def full_recipe(hyp: str | Path | None = None) -> dict[str, Any]:
    """`load_recipe` with every key that a recipe may set, at its default where the recipe does not say.

    Raises:
        InputError: see `load_recipe`.
    """
    defaults = {**DEFAULT_CFG_DICT, **OWN_KEYS}
    return {**{key: defaults[key] for key in KEYS}, **load_recipe(hyp)}


def unread_gains(recipe: dict[str, Any], *, anchor_based: bool) -> list[str]:
    """Keys that differ from the default recipe's and that only the other kind of head reads.

    Args:
        recipe: of `load_recipe`.
        anchor_based: whether the head is the anchor-based one.
    """
    default = load_recipe()
    other = _GAINS if anchor_based else _ANCHOR_GAINS
    return sorted(key for key in other if recipe[key] != default[key])


def _expected(key: str, value: Any) -> str | None:
    """What a key takes where `value` is not that; ultralytics' `check_cfg` knows its own keys more closely."""
    if key == "optimizer":
        return None if value in OPTIMIZERS else f"one of {', '.join(OPTIMIZERS)}"
    if key == "cos_lr":
        return None if isinstance(value, bool) else "true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return "a number of at least 0, such as 0.001 or 1.0e-3"
    if key == "drop_path" and value >= 1:
        return "a number below 1"
    if key in ("clip_norm", "layer_decay") and value == 0:
        return "a number above 0"
    if key == "layer_decay" and value > 1:
        return "a number of at most 1"
    if key == "anchor_t" and value <= 1:
        return "a number above 1"
    return None
