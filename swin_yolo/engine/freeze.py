"""What `--freeze` names."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from swin_yolo.errors import InputError


def frozen_modules(freeze: Sequence[int | str], model: Any) -> list[str]:
    """Modules to freeze, as ultralytics' trainer takes them: paths below the list of rows, such as "6.blocks.0".

    Args:
        freeze: a single number N for the first N rows, as YOLOv5 has it. Else each the number of a row, "backbone" for
            all rows of it, a class of layers such as SwinStage or WindowAttention, or the path of a module such as
            6.blocks.0.
        model: a YAML model.

    Raises:
        InputError: if one names nothing in the model, or nothing is left to train.
    """
    modules = {path: module for path, module in model.model.named_modules() if path}
    found: dict[str, None] = {}
    entries = list(map(str, freeze))
    if len(entries) == 1 and entries[0].isdigit() and int(entries[0]) <= len(model.model):
        entries = [str(row) for row in range(int(entries[0]))]
    for entry in entries:
        paths = _named(entry, modules, len(model.yaml["backbone"]))
        if not paths:
            raise InputError(
                f"--freeze {entry}: expected a row from 0 to {len(model.model) - 1}, backbone, a layer of the model "
                "such as C3, or a module such as 0.conv"
            )
        found |= dict.fromkeys(paths)
    if found and all(
        name.startswith(tuple(f"{path}." for path in found)) for name, _ in model.model.named_parameters()
    ):
        raise InputError(f"--freeze {' '.join(map(str, freeze))}: no parameters are left to train")
    return list(found)


def _named(entry: str, modules: dict[str, nn.Module], backbone_rows: int) -> list[str]:
    if entry == "backbone":
        return [str(row) for row in range(backbone_rows)]
    path = entry.removeprefix("model.").rstrip(".")
    if path in modules:
        return [path]
    return [path for path, module in modules.items() if type(module).__name__ == entry]
