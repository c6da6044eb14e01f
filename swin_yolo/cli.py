"""The command line: `swin-yolo COMMAND`, and the same commands as tools/COMMAND.py."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_yolo.errors import InputError

if TYPE_CHECKING:
    from swin_yolo.engine.evaluate import Evaluation

HELP = """Swin Transformer layers in YOLO, on COCO-format data.

    swin-yolo train --cfg yolov5s-swin.yaml --data demo.yaml --epochs 40
    swin-yolo val --weights runs/train/exp/weights/best.pt --data demo.yaml
    swin-yolo yolo predict model=best.pt source=image.jpg     (the ultralytics command line, with our layers)

Each command has --help.
"""

TRAIN_HELP = """Train a detector on COCO-format data.

    python tools/train.py --cfg yolov5s-swin.yaml
    python tools/train.py --cfg yolov5n-swin.yaml --data data/bccd.yaml --imgsz 320 --epochs 40
    python tools/train.py --cfg yolov5l-swint.yaml --summary
    python tools/train.py --resume runs/train/exp/weights/last.pt
"""

VAL_HELP = """Score a checkpoint, or a finished COCO results file, by pycocotools.

    python tools/val.py --weights runs/train/exp/weights/best.pt --data data/bccd.yaml --task test
    python tools/val.py --predictions results.json --annotations instances.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 2 for a mistake in what was given, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else ""
    if command in ("", "-h", "--help"):
        print(HELP)
        return 0 if command else 2
    if command not in COMMANDS:
        print(f"swin-yolo: no command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return COMMANDS[command](argv[1:])
    except InputError as e:
        print(f"swin-yolo {command}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def console() -> None:
    """Entry point of the console script."""
    raise SystemExit(main())


def _train(argv: Sequence[str]) -> int:
    args = _train_parser().parse_args(argv)
    # Imported late: --help answers at once.
    from swin_yolo.engine.run_folder import latest_checkpoint, new_run_folder
    from swin_yolo.engine.train import resume, train

    if args.summary:
        print(_summary(args.cfg, args.imgsz))
        return 0
    if args.resume is not None:
        last = args.resume or latest_checkpoint(args.project)
        _print_evaluation(resume(last, data=args.data, device=args.device, workers=args.workers))
        return 0
    evaluation = train(
        args.cfg,
        args.data or "demo.yaml",
        save_dir=new_run_folder(args.project, args.name, exist_ok=args.exist_ok),
        weights=args.weights,
        hyp=args.hyp,
        epochs=args.epochs,
        batch_size=args.batch_size,
        imgsz=args.imgsz,
        device=args.device,
        workers=args.workers,
        optimizer=args.optimizer,
        cos_lr=args.cos_lr,
        patience=args.patience,
        freeze=args.freeze,
        cache=args.cache,
        seed=args.seed,
    )
    _print_evaluation(evaluation)
    return 0


def _summary(cfg: str, imgsz: int) -> str:
    from swin_yolo.engine.model import build_model, profile_rows
    from swin_yolo.report.model_table import format_rows

    return format_rows(profile_rows(build_model(cfg), imgsz), name=Path(cfg).stem, imgsz=(imgsz, imgsz))


def _print_evaluation(evaluation: "Evaluation", *, per_class: bool = True) -> None:
    """The twelve numbers, and where everything was written."""
    from swin_yolo.report.metrics_table import format_metrics

    print(format_metrics(evaluation.score, per_class=per_class))
    print(f"\nWritten to {evaluation.save_dir}")
    for picture in evaluation.pictures:
        print(f"  {picture}")


def _train_parser() -> argparse.ArgumentParser:
    parser = _parser("train", TRAIN_HELP)
    add = parser.add_argument
    add("--cfg", default="yolov5s-swin.yaml", help="model YAML, a file or a name (default %(default)s)")
    add("--data", help="dataset YAML, folder in COCO, Roboflow or CVAT layout, or shipped name (default demo.yaml)")
    add("--weights", type=Path, help="checkpoint to start from (default: fresh weights)")
    add("--hyp", type=Path, help="YAML of recipe keys that replace the default recipe's")
    add("--epochs", type=_positive, default=100, help="passes over the train split (default %(default)s)")
    add("--batch-size", type=_positive, default=16, help="images per batch (default %(default)s)")
    add("--imgsz", "--img", "--img-size", type=_positive, default=640, help="image side, pixels (default %(default)s)")
    add("--device", default="", help="cpu, 0, or 0,1 for DDP (default: the first GPU, or the CPU)")
    add("--workers", type=_count, default=2, help="processes that load images (default %(default)s)")
    add("--optimizer", choices=("AdamW", "SGD"), help="in place of the recipe's")
    add("--cos-lr", action=argparse.BooleanOptionalAction, help="cosine schedule, in place of the recipe's")
    add("--patience", type=_positive, default=100, help="epochs without a better AP to stop after (default 100)")
    add("--freeze", type=_count, nargs="+", metavar="ROW", help="rows of the model whose parameters stay as they are")
    add("--cache", nargs="?", const="ram", choices=("ram", "disk"), help="keep decoded images (default: do not)")
    add("--seed", type=_count, default=0, help="of weights, data order and augmentation (default %(default)s)")
    add("--resume", nargs="?", const="", metavar="LAST.PT", help="go on with a stopped run (default: the newest)")
    add("--project", type=Path, default=Path("runs/train"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    add("--summary", action="store_true", help="print rows, shapes, parameters and GFLOPs at --imgsz, and stop")
    return parser


def _val(argv: Sequence[str]) -> int:
    parser = _val_parser()
    args = parser.parse_args(argv)
    if (args.predictions is None) != (args.annotations is None):
        parser.error("--predictions and --annotations go together")
    if (args.predictions is None) == (args.weights is None):
        parser.error("expected either --weights, or --predictions with --annotations")
    from swin_yolo.engine.evaluate import evaluate, evaluate_predictions
    from swin_yolo.engine.run_folder import new_run_folder

    save_dir = new_run_folder(args.project, args.name, exist_ok=args.exist_ok)
    if args.predictions is not None:
        scored = evaluate_predictions(args.predictions, args.annotations, save_dir=save_dir)
        _print_evaluation(scored, per_class=args.verbose)
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
        half=args.half,
        save_json=args.save_json,
        plots=args.plots,
    )
    _print_evaluation(evaluation, per_class=args.verbose)
    return 0


def _val_parser() -> argparse.ArgumentParser:
    parser = _parser("val", VAL_HELP)
    add = parser.add_argument
    add("--weights", type=Path, help="checkpoint")
    add("--data", default="demo.yaml", help="dataset YAML, folder or shipped name (default %(default)s)")
    add("--task", default="val", help="split to score: train, val or test (default %(default)s)")
    add("--imgsz", "--img", "--img-size", type=_positive, default=640, help="longer side, pixels (default %(default)s)")
    add("--batch-size", type=_positive, default=16, help="images per batch (default %(default)s)")
    add("--device", default="", help="cpu or 0 (default: the first GPU, or the CPU)")
    add("--workers", type=_count, default=2, help="processes that load images (default %(default)s)")
    add("--conf-thres", type=_fraction, default=0.001, help="least score of a detection (default %(default)s)")
    add("--iou-thres", type=_fraction, default=0.7, help="IoU of NMS (default %(default)s)")
    add("--max-det", type=_positive, default=300, help="most detections per image (default %(default)s)")
    add("--half", action="store_true", help="infer in fp16, on a GPU")
    add("--save-json", action=argparse.BooleanOptionalAction, default=True, help="write predictions.json")
    add("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw curves and pictures")
    add("--verbose", action=argparse.BooleanOptionalAction, default=True, help="print the classes too")
    add("--predictions", type=Path, help="COCO results file to score in place of a model")
    add("--annotations", type=Path, help="COCO annotations that --predictions is of")
    add("--project", type=Path, default=Path("runs/val"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    return parser


def _yolo(argv: Sequence[str]) -> int:
    """The ultralytics command line in this process, where our layers are registered."""
    from ultralytics.cfg import entrypoint

    import swin_yolo  # noqa: F401

    sys.argv = ["yolo", *argv]
    entrypoint()
    return 0


def _parser(command: str, text: str) -> argparse.ArgumentParser:
    summary = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"swin-yolo {command}", description=text, formatter_class=summary)


def _positive(text: str) -> int:
    return _number(text, int, lambda n: n >= 1, "a whole number of at least 1")


def _count(text: str) -> int:
    return _number(text, int, lambda n: n >= 0, "a whole number of at least 0")


def _fraction(text: str) -> float:
    return _number(text, float, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def _number(text: str, kind: type, valid: Callable[[Any], bool], expected: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not valid(number):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return number


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"train": _train, "val": _val, "yolo": _yolo}
