"""`swin-yolo compare`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from .parsing import command_parser, count, positive, seed, take_only

HELP = """Compare models: does Swin help? Trains every model with every seed alike, or takes finished models.

    python tools/compare.py --cfg yolov5n.yaml yolov5n-swin.yaml --data data/bccd.yaml --imgsz 320 --epochs 40
    python tools/compare.py --cfg yolov5n.yaml yolov5n-swin-insert.yaml --head anchor --from yolov5n.pt --seeds 0 1
    python tools/compare.py --weights vanilla.pt swin.pt swin.onnx --data data/bccd.yaml --task test

The first model is the baseline. runs/compare/NAME gets compare.json, compare.md, compare.csv and report.html. The same
command goes on where it was stopped, however that was. Its runs are ordinary folders of train, runs/compare/NAME/runs/
MODEL-seedK: those made there by train with the same arguments are taken as they are.
"""

# What is read with --weights; the rest is for training.
_WITHOUT_TRAINING = (
    *("weights", "trust", "data", "task", "imgsz", "batch_size"),
    *("device", "workers", "resamples", "project", "name"),
)


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    flags = parser()
    args = flags.parse_args(argv)
    if (args.cfg is None) == (args.weights is None):
        flags.error("expected either --cfg, models to train, or --weights, finished ones")
    if args.weights is not None:
        take_only(_WITHOUT_TRAINING, args, flags)
    if args.trust and args.weights is None and getattr(args, "from") is None:
        flags.error("--trust would not be read without --from or --weights")
    if args.match_to is not None and (args.match or ("none" if getattr(args, "from") else "params")) == "none":
        flags.error("--match-to would not be read without --match params or --match gflops")
    if len(set(args.seeds)) < len(args.seeds):
        flags.error(f"--seeds: expected different numbers, got {' '.join(map(str, args.seeds))}")
    try:
        return _compare(args, argv)
    except KeyboardInterrupt:
        print("swin-yolo compare: stopped; the same command goes on", file=sys.stderr)
        raise


def _compare(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from swin_yolo.comparison.compare import compare_finished, compare_trained
    from swin_yolo.report.comparison_table import comparison_lines

    common = {
        "save_dir": (args.project / args.name).resolve(),
        "command": shlex.join(["swin-yolo", "compare", *argv]),
        "resamples": args.resamples,
        "task": args.task,
        "imgsz": args.imgsz,
        "batch_size": args.batch_size,
        "device": args.device,
        "workers": args.workers,
        "trust": args.trust,
    }
    if args.weights is not None:
        done = compare_finished(args.weights, args.data, **common)
    else:
        done = compare_trained(
            args.cfg,
            args.data,
            **common,
            seeds=args.seeds,
            epochs=args.epochs,
            hyp=args.hyp,
            cache=args.cache,
            head=args.head,
            parent=getattr(args, "from"),
            jobs=args.jobs,
            match=args.match,
            match_to=args.match_to or (),
        )
    print("\n".join(["", *comparison_lines(done.content), "", f"Written to {common['save_dir']}"]))
    for file in done.files:
        print(f"  {file}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("compare", HELP)
    add = parser.add_argument
    add("--cfg", nargs="+", metavar="YAML", help="models to train, files or names; the first is the baseline")
    weights = "finished models in their place: .pt, .safetensors or exported, also of ultralytics' own training"
    add("--weights", nargs="+", type=Path, metavar="FILE", help=weights)
    add("--from", type=Path, metavar="FILE", help="checkpoint that every model starts from: train's --weights")
    add("--trust", action="store_true", help="open these files even if they run code: only if you know who made them")
    add("--head", choices=("anchor",), help="anchor: YOLOv5's anchor-based head in the place of the YAMLs'")
    add("--data", default="demo.yaml", help="dataset YAML, folder or shipped name (default %(default)s)")
    add("--task", default="val", help="split to compare on: val or test (default %(default)s)")
    add("--epochs", type=positive, default=100, help="passes over the train split (default %(default)s)")
    add("--batch-size", type=positive, default=16, help="images per batch (default %(default)s)")
    add("--imgsz", "--img", "--img-size", type=positive, default=640, help="image side, pixels (default %(default)s)")
    add("--hyp", type=Path, help="YAML of recipe keys that replace the default recipe's")
    seeds = "of weights, data order and augmentation; each model is trained with each (default 0 1 2)"
    add("--seeds", nargs="+", type=seed, default=[0, 1, 2], metavar="SEED", help=seeds)
    match = "size in which a widened baseline, the control, equals a candidate (default: params; none with --from)"
    add("--match", choices=("params", "gflops", "none"), help=match)
    add("--match-to", nargs="+", metavar="MODEL", help="candidates that get a control (default: the last)")
    jobs = "runs side by side, each with its share of the cores or a GPU of its own (default %(default)s)"
    add("--jobs", type=positive, default=1, help=jobs)
    device = "cpu, 0, or 0,1: jobs side by side on a GPU each, one job on both (default: the first GPU, or the CPU)"
    add("--device", default="", help=device)
    add("--workers", type=count, default=2, help="processes that load images (default %(default)s)")
    add("--cache", nargs="?", const="ram", choices=("ram", "disk"), help="keep decoded images (default: do not)")
    resamples = "of the bootstrap that the intervals come from (default %(default)s)"
    add("--resamples", type=positive, default=1000, help=resamples)
    add("--project", type=Path, default=Path("runs/compare"), help="folder of comparisons (default %(default)s)")
    add("--name", default="exp", help="folder of this one in it; gone on with where it is there (default %(default)s)")
    return parser
