"""`swin-yolo val`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .inference import add_precision, add_slicing, chosen_precision, chosen_slicing
from .parsing import command_parser, count, fraction, positive, take_only
from .printing import print_evaluation

HELP = """Score a checkpoint, or a finished COCO results file, by pycocotools.

    python tools/val.py --weights runs/train/exp/weights/best.pt --data data/bccd.yaml --task test
    python tools/val.py --predictions results.json --annotations instances.json
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    flags = parser()
    args = flags.parse_args(argv)
    if (args.predictions is None) != (args.annotations is None):
        flags.error("--predictions and --annotations go together")
    if (args.predictions is None) == (args.weights is None):
        flags.error("expected either --weights, or --predictions with --annotations")
    if args.predictions is not None:
        take_only(("predictions", "annotations", "project", "name", "exist_ok", "verbose"), args, flags)
    precision, slicing = chosen_precision(args, flags), chosen_slicing(args, flags)
    from swin_yolo.engine.evaluate import evaluate, evaluate_predictions
    from swin_yolo.engine.run_folder import new_run_folder

    save_dir = new_run_folder(args.project, args.name, exist_ok=args.exist_ok)
    if args.predictions is not None:
        scored = evaluate_predictions(args.predictions, args.annotations, save_dir=save_dir)
        print_evaluation(scored, per_class=args.verbose)
        return 0
    evaluation = evaluate(
        args.weights,
        args.data,
        save_dir=save_dir,
        task=args.task,
        imgsz=args.imgsz,
        batch_size=args.batch_size,
        device=args.device,
        workers=args.workers,
        conf_thres=args.conf_thres,
        iou_thres=args.iou_thres,
        max_det=args.max_det,
        precision=precision,
        slicing=slicing,
        save_json=args.save_json,
        plots=args.plots,
        trust=args.trust,
    )
    print_evaluation(evaluation, per_class=args.verbose)
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("val", HELP)
    add = parser.add_argument
    add("--weights", type=Path, help="checkpoint, .pt or .safetensors")
    add("--trust", action="store_true", help="open --weights even if it runs code: only if you know who made it")
    add("--data", default="demo.yaml", help="dataset YAML, folder or shipped name (default %(default)s)")
    add("--task", default="val", help="split to score: train, val or test (default %(default)s)")
    add("--imgsz", "--img", "--img-size", type=positive, default=640, help="longer side, pixels (default %(default)s)")
    add("--batch-size", type=positive, default=16, help="images per batch (default %(default)s)")
    add("--device", default="", help="cpu or 0 (default: the first GPU, or the CPU)")
    add("--workers", type=count, default=2, help="processes that load images (default %(default)s)")
    add("--conf-thres", type=fraction, default=0.001, help="least score of a detection (default %(default)s)")
    add("--iou-thres", type=fraction, default=0.7, help="IoU of NMS (default %(default)s)")
    add("--max-det", type=positive, default=300, help="most detections per image (default %(default)s)")
    add_precision(parser, default="fp32")
    add_slicing(parser)
    add("--save-json", action=argparse.BooleanOptionalAction, default=True, help="write predictions.json")
    add("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw curves and pictures")
    add("--verbose", action=argparse.BooleanOptionalAction, default=True, help="print the classes too")
    add("--predictions", type=Path, help="COCO results file to score in place of a model")
    add("--annotations", type=Path, help="COCO annotations that --predictions is of")
    add("--project", type=Path, default=Path("runs/val"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    return parser
