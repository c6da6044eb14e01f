"""`swin-yolo convert`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .parsing import command_parser

HELP = """Write a detector's .pt as .safetensors, which cannot hold code, or the other way round.

    swin-yolo convert best.pt best.safetensors
    swin-yolo convert best.safetensors best.pt
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    flags = parser()
    args = flags.parse_args(argv)
    if args.target.exists() and not args.exist_ok:
        flags.error(f"{args.target}: is there already; --exist-ok writes over it")
    from swin_yolo.weights import convert

    print(f"Written to {convert(args.source, args.target, trust=args.trust)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("convert", HELP)
    add = parser.add_argument
    add("source", type=Path, help="detector: .pt of ours, ultralytics or the original YOLOv5, or .safetensors of ours")
    add("target", type=Path, help="file to write, .safetensors or .pt")
    add("--trust", action="store_true", help="open the source even if it runs code: only if you know who made it")
    add("--exist-ok", action="store_true", help="write over the target if it is there")
    return parser
