"""Flags of inference that detect and val share."""

import argparse
from typing import TYPE_CHECKING

from .parsing import fraction, positive

if TYPE_CHECKING:
    from swin_yolo.engine.slicing import Slicing

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
OVERLAP = 0.2


def add_precision(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add --precision, and --half as YOLOv5 has it."""
    measured = "auto measures and takes the fastest, fp32 if none is faster by a tenth"
    parser.add_argument("--precision", choices=PRECISIONS, help=f"to infer in; {measured} (default: {default})")
    parser.add_argument("--half", action="store_true", help="the same as --precision fp16, on a GPU")
    parser.set_defaults(default_precision=default)


def add_slicing(parser: argparse.ArgumentParser) -> None:
    """Add --slice and --overlap."""
    add = parser.add_argument
    add("--slice", type=positive, metavar="PIXELS", help="look at squares of this side as well, for small objects")
    add("--overlap", type=_overlap, help=f"fraction that neighbouring squares share (default: {OVERLAP})")


def chosen_precision(args: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """What --precision and --half ask for; an error where they ask for different things."""
    if args.half and args.precision not in (None, "fp16"):
        parser.error(f"--half is --precision fp16, got --precision {args.precision} too")
    return "fp16" if args.half else args.precision or args.default_precision


def chosen_slicing(args: argparse.Namespace, parser: argparse.ArgumentParser) -> "Slicing | None":
    """What --slice and --overlap ask for."""
    if args.slice is None:
        if args.overlap is not None:
            parser.error("--overlap would not be read without --slice")
        return None
    from swin_yolo.engine.slicing import Slicing

    return Slicing(args.slice, OVERLAP if args.overlap is None else args.overlap)


def _overlap(text: str) -> float:
    """A flag's value as a number from 0 to below 1."""
    value = fraction(text)
    if value == 1:
        raise argparse.ArgumentTypeError("expected a number from 0 to below 1, got '1'")
    return value
