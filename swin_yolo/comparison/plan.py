"""What all runs of a comparison have in common, kept in its folder so that it cannot change half-way."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swin_yolo.data.coco import CocoIndex
from swin_yolo.engine.recipe import full_recipe
from swin_yolo.errors import InputError, one_line
from swin_yolo.files import sha256, write_json

PLAN = "plan.json"
KIND = "what it compares"
TRAINED, FINISHED = {KIND: "models that it trains"}, {KIND: "finished models"}
_FORMERLY_UNSAID = (KIND, "--device (kind)")  # by plans of older versions, whose comparisons go on all the same


@dataclass(frozen=True)
class Training:
    """How every run of a comparison is trained: `train`'s arguments, but for model and seed.

    Attributes:
        parent: the checkpoint that every model starts from; None for fresh weights.
        splits: the indexes of the train and val splits of `data`, by name.
        trained_on: what each run computes on, as `kind_of_device` says it: numbers of a GPU are others than of a CPU.
    """

    data: str
    splits: Mapping[str, CocoIndex]
    epochs: int = 100
    batch_size: int = 16
    imgsz: int = 640
    workers: int = 2
    cache: str | None = None
    head: str | None = None
    parent: Path | None = None
    trust: bool = False
    hyp: Path | None = None
    trained_on: str = "cpu"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Every key of the recipe."""
        return full_recipe(self.hyp)

    @cached_property
    def parent_sha256(self) -> str | None:
        """Hash of the file that every model starts from."""
        if self.parent is None:
            return None
        if not self.parent.is_file():
            raise InputError(f"--from {self.parent}: no such file")
        return sha256(self.parent)

    @cached_property
    def annotations_sha256(self) -> dict[str, str]:
        """Hash of the annotations of train and val."""
        return {name: sha256(index.annotations_file) for name, index in self.splits.items()}

    @property
    def batch_per_device(self) -> int:
        """Images that each GPU gets of a batch."""
        number, _, kind = self.trained_on.partition(" ")
        return max(self.batch_size // int(number), 1) if kind else self.batch_size

    def argv(self, cfg: str, seed: int) -> list[str]:
        """The flags of `swin-yolo train` for one run, but for its folder and device."""
        flags: dict[str, Any] = {
            "cfg": cfg,
            "data": self.data,
            "imgsz": self.imgsz,
            "epochs": self.epochs,
            "batch-size": self.batch_size,
            "workers": self.workers,
            "patience": self.epochs,  # a run that stops early has seen fewer images
            "seed": seed,
            "cache": self.cache,
            "head": self.head,
            "weights": self.parent,
            "hyp": self.hyp,
        }
        given = [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]
        return [*given, *(["--trust"] if self.trust else [])]

    def fixed(self) -> dict[str, Any]:
        """What must not change between the runs, by what the user knows it as."""
        return {
            **TRAINED,
            "--device (kind)": self.trained_on,
            "--epochs": self.epochs,
            "--batch-size": self.batch_size,
            "--imgsz": self.imgsz,
            "--workers": self.workers,
            "--head": self.head,
            "--from (sha256)": self.parent_sha256,
            **{f"annotations of {name} (sha256)": sha for name, sha in self.annotations_sha256.items()},
            **{f"recipe key {key}": value for key, value in sorted(self.recipe.items())},
        }


def settle(folder: Path, fixed: Mapping[str, Any], command: str) -> list[str]:
    """Begin a comparison in its folder, or go on with the one that is there.

    Args:
        folder: of the comparison; there already.
        fixed: what must not change, by what the user knows it as.
        command: what was typed.

    Returns:
        All commands that have worked on this comparison, `command` the last.

    Raises:
        InputError: if it was begun with another value of something in `fixed`; says both.
    """
    file = folder / PLAN
    plan = {"fixed": dict(fixed), "commands": [command]}
    if file.exists():
        try:
            begun = json.loads(file.read_text(encoding="utf-8"))
            before, commands = dict(begun["fixed"]), list(begun["commands"])
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"{file}: expected the plan of a comparison: {one_line(e)}") from e
        _check_same(folder, before, json.loads(json.dumps(plan["fixed"])))
        plan["commands"] = [*(done for done in commands if done != command), command]
    write_json(file, plan, indent=2)
    return list(plan["commands"])


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    kinds = before.get(KIND, now.get(KIND)), now.get(KIND)
    if kinds[0] != kinds[1]:
        raise InputError(f"{folder}: holds a comparison of {kinds[0]}, not of {kinds[1]}; give another --name")
    known = [key for key in {**before, **now} if key in before or key not in _FORMERLY_UNSAID]
    if changed := [key for key in known if before.get(key, "") != now.get(key, "")]:
        both = ", ".join(f"{key} {_shown(before, key)}, not {_shown(now, key)}" for key in changed)
        raise InputError(
            f"{folder}: this comparison was begun with {both}, and its runs would not be equal; give what it was begun "
            "with, or another --name"
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "unset"
