"""The `activation` of a model YAML, read as data: ultralytics' parser would evaluate it as Python."""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from ultralytics.nn import tasks

from ..errors import InputError

# Longer than any call of an activation, and short enough for Python's own parser.
_MAX_LENGTH = 200

# A larger number would be a size, and PReLU makes a tensor of it.
_MAX_NUMBER = 1 << 16


def activation_layer(text: Any, where: str) -> nn.Module:
    """The layer that an `activation` such as "nn.LeakyReLU(0.1)" names.

    Args:
        text: one call of an activation of torch.nn, "torch." before it or not, with literal arguments.
        where: file or flag, for the message.

    Raises:
        InputError: if it is anything else; nothing of it is run.
    """
    try:
        cls, args, keywords = _read_call(text)
        return cls(*args, **keywords)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as e:
        got = repr(text[:_MAX_LENGTH]) if isinstance(text, str) else f"a {type(text).__name__}"
        raise InputError(
            f"{where}: activation expected one layer of torch.nn such as nn.SiLU() or nn.LeakyReLU(0.1), got {got}"
        ) from e


@contextmanager
def default_activation(activation: nn.Module) -> Iterator[None]:
    """Give Convs built inside this activation, as ultralytics' parser does for a YAML's `activation`."""
    default_act = tasks.Conv.default_act
    tasks.Conv.default_act = activation
    try:
        yield
    finally:
        tasks.Conv.default_act = default_act


def _read_call(text: Any) -> tuple[type[nn.Module], list[Any], dict[str, Any]]:
    """Class, arguments and keywords of a call; ValueError, SyntaxError or what ast raises if it is no such call."""
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise ValueError("no text of a call")
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("no call")
    name = ast.unparse(call.func).removeprefix("torch.")
    layer: Any = vars(nn).get(name[3:])
    if not re.fullmatch(r"nn\.\w+", name) or not _is_activation(layer):
        raise ValueError("no activation of torch.nn")
    keywords = {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg is not None}
    if len(keywords) != len(call.keywords):
        raise ValueError("keywords without names")
    return layer, [_literal(value) for value in call.args], keywords


def _is_activation(layer: Any) -> bool:
    if not isinstance(layer, type) or not issubclass(layer, nn.Module) or layer is nn.MultiheadAttention:
        return False
    return layer is nn.Identity or layer.__module__ == nn.SiLU.__module__


def _literal(node: ast.expr) -> Any:
    """A number, text, truth value or None; a starred argument is no literal."""
    value = ast.literal_eval(node)
    if not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError("an argument is no plain value")
    if isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER:
        raise ValueError("an argument is too large")
    return value
