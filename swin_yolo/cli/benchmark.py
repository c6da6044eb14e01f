"""`swin-yolo benchmark`."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from .parsing import command_parser, positive

HELP = """Measure speed and memory beside what one would use instead, in turns: ours, theirs, ours, theirs.

    python tools/benchmark.py
    python tools/benchmark.py --sections models --cfg yolov5s.yaml yolov5s-swin.yaml --per-row
    python tools/benchmark.py --sections video --weights best.pt --source video.mp4 --rounds 5

Needs `pip install swin-yolo[bench]`. Writes benchmark.json and benchmark.md.
"""

SECTIONS = ("layers", "models", "training", "evaluation", "index", "loader", "video", "long-video")


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    args = parser().parse_args(argv)
    from swin_yolo.benchmark import benchmark
    from swin_yolo.benchmark.models import CFGS
    from swin_yolo.benchmark.run import Settings, check
    from swin_yolo.engine.run_folder import new_run_folder
    from swin_yolo.errors import InputError

    if args.epochs < 2:
        raise InputError(
            f"--epochs {args.epochs}: expected at least 2, since the first, in which all is set up, does not count"
        )
    for flag, files in (("--weights", args.weights), ("--source", [args.source] if args.source else [])):
        if missing := [str(file) for file in files if not file.is_file()]:
            raise InputError(f"{flag} {missing[0]}: no such file")
    settings = Settings(
        weights=tuple(args.weights),
        source=args.source,
        imgsz=args.imgsz,
        device=args.device,
        rounds=args.rounds,
        frames=args.frames,
        batches=tuple(args.batches),
        windows=tuple(args.windows),
        cfgs=tuple(args.cfg or CFGS),
        per_row=args.per_row,
        batch_size=args.batch_size,
        epochs=args.epochs,
        data=args.data,
        train_imgsz=args.train_imgsz,
        eval_images=args.eval_images,
        objects365=args.objects365,
    )
    check(args.sections, settings)
    save_dir = new_run_folder(args.project, args.name, exist_ok=args.exist_ok)
    command = shlex.join(["python", "tools/benchmark.py", *argv])
    for table in benchmark(args.sections, settings, save_dir=save_dir, command=command):
        print(f"\n{table.as_markdown()}", flush=True)
    print(f"\nWritten to {save_dir}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("benchmark", HELP)
    add = parser.add_argument
    add("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help=f"default: {' '.join(SECTIONS)}")
    add("--weights", nargs="+", type=Path, default=[], help="checkpoints for video (default: a fresh yolov5s)")
    add("--source", type=Path, help="video for video (default: a drawn one)")
    add("--imgsz", "--img", "--img-size", type=positive, default=640, help="longer side, pixels (default %(default)s)")
    add("--device", default="cpu", help="cpu or 0 (default %(default)s)")
    add("--rounds", type=positive, default=3, help="how often each is timed (default %(default)s)")
    add("--batches", nargs="+", type=positive, default=[1, 8], help="images of a batch in layers (default 1 8)")
    add("--windows", nargs="+", type=positive, default=[7, 8], help="window sizes of layers (default 7 8)")
    add("--cfg", nargs="+", help="models; the first is what others are compared with (default: yolov5s and our five)")
    add("--per-row", action="store_true", help="of models: what each row of each YAML takes, too")
    add("--batch-size", type=positive, default=8, help="images of a batch in models and training (default %(default)s)")
    add("--epochs", type=positive, default=3, help="of training, at least 2 (default %(default)s)")
    add("--data", default="demo.yaml", help="what is trained on: dataset YAML, folder or name (default %(default)s)")
    add("--train-imgsz", type=positive, default=320, help="image side of training, pixels (default %(default)s)")
    add("--eval-images", type=positive, default=5000, help="images that evaluation scores (default %(default)s)")
    add("--objects365", action="store_true", help="of index: 25 million boxes, too; takes 5 GB of disk for a while")
    add("--frames", type=positive, default=20000, help="length of the video of long-video (default %(default)s)")
    add("--project", type=Path, default=Path("runs/benchmark"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    return parser
