"""What the parsers of all commands share: one-line errors, and the numbers that flags take."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from swin_yolo.errors import InputError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError with argparse's message."""
        raise InputError(f"{message}; see {self.prog} --help")


def command_parser(command: str, text: str) -> Parser:
    """A parser for `swin-yolo COMMAND`, whose --help starts with `text`."""
    as_written = argparse.RawDescriptionHelpFormatter
    # Without the usage, which says what the list of flags says again, help starts with the description.
    return Parser(f"swin-yolo {command}", argparse.SUPPRESS, text, formatter_class=as_written)


def take_only(taken: tuple[str, ...], args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raise InputError for flags other than `taken` that were given: they would be left unread in silence."""
    given = [dest for dest, value in vars(args).items() if value != parser.get_default(dest)]
    if unread := [f"--{dest.replace('_', '-')}" for dest in given if dest not in taken]:
        flags = ", ".join(f"--{dest.replace('_', '-')}" for dest in taken)
        parser.error(f"{', '.join(unread)} would not be read here, where only {flags} are")


def positive(text: str) -> int:
    """A flag's value as a whole number of at least 1."""
    return _number(text, int, lambda n: n >= 1, "a whole number of at least 1")


def count(text: str) -> int:
    """A flag's value as a whole number of at least 0."""
    return _number(text, int, lambda n: n >= 0, "a whole number of at least 0")


def seed(text: str) -> int:
    """A flag's value as a seed of NumPy's and PyTorch's random numbers."""
    return _number(text, int, lambda n: 0 <= n < 2**32, "a whole number from 0 to 4294967295")


def fraction(text: str) -> float:
    """A flag's value as a number from 0 to 1."""
    return _number(text, float, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def _number(text: str, kind: type, valid: Callable[[Any], bool], expected: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not valid(number):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return number
