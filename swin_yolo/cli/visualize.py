"""`swin-yolo visualize`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .parsing import command_parser, count, positive

HELP = """Draw what the Swin blocks of a model do with an image, a picture for each row that has some.

    python tools/visualize.py --weights best.pt --source image.jpg
    python tools/visualize.py --weights best.pt --source image.jpg --at 120,80 --rows 6
    python tools/visualize.py --weights best.pt --source image.jpg --click

A picture shows windows and shifted windows, the shift masks, the attention of one pixel's token over its window, the
relative position bias of every head, and the effective receptive field; docs/swin.md explains them.
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    flags = parser()
    args = flags.parse_args(argv)
    if len(args.imgsz) > 2:
        flags.error(f"--imgsz: expected one number, or height and width, got {len(args.imgsz)} numbers")
    if args.click and args.at is not None:
        flags.error("--at and --click both choose the pixel; expected one of them")
    from swin_yolo.engine.run_folder import new_run_folder
    from swin_yolo.engine.visualize import visualize

    done = visualize(
        args.weights,
        args.source,
        save_dir=new_run_folder(args.project, args.name, exist_ok=args.exist_ok),
        at=args.at,
        click=args.click,
        imgsz=args.imgsz[0] if len(args.imgsz) == 1 else tuple(args.imgsz),
        rows=args.rows,
        device=args.device,
        trust=args.trust,
    )
    print(f"Pixel {done.at[0]},{done.at[1]} of {args.source}")
    for number, picture in done.pictures.items():
        print(f"  row {number}: {picture}")
    return 0


def pixel(text: str) -> tuple[int, int]:
    """A flag's value as the x and y of a pixel."""
    try:
        x, y = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected x,y in pixels, such as 120,80, got {text!r}") from None
    return x, y


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("visualize", HELP)
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="checkpoint, .pt or .safetensors")
    add("--trust", action="store_true", help="open --weights even if it runs code: only if you know who made it")
    add("--source", required=True, metavar="IMAGE", help="an image")
    add("--at", type=pixel, metavar="X,Y", help="pixel of the image whose attention is shown (default: the middle)")
    add("--click", action="store_true", help="choose the pixel with the mouse, then press a key")
    add("--rows", type=count, nargs="+", metavar="ROW", help="rows of the model (default: all that have Swin blocks)")
    imgsz = "longer side, or height and width, pixels (default: 640)"
    add("--imgsz", "--img", "--img-size", type=positive, nargs="+", default=[640], metavar="PIXELS", help=imgsz)
    add("--device", default="", help="cpu or 0 (default: the first GPU, or the CPU)")
    add("--project", type=Path, default=Path("runs/visualize"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    return parser
