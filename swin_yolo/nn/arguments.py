"""Checks of layer arguments that come from a YAML row."""


def check_positive_int(name: str, value: int) -> None:
    """Raise ValueError naming the argument if `value` is not an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
