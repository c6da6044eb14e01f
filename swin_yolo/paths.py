"""Where the YAML files that come with the package are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped_dir(kind: str) -> Path:
    """Folder of the shipped YAMLs: `kind` is "models" (model YAMLs) or "data" (dataset YAMLs).

    A wheel carries them inside the package; a checkout (or an editable install) has them at the top level.
    """
    in_wheel = _PACKAGE / "_shipped" / kind
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / {"models": "models/yaml", "data": "data"}[kind]
