"""`swin-yolo train`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .parsing import command_parser, count, fraction, positive, seed, take_only
from .printing import print_evaluation

HELP = """Train a detector on COCO-format data.

    python tools/train.py --cfg yolov5s-swin.yaml
    python tools/train.py --cfg yolov5n-swin.yaml --data data/bccd.yaml --imgsz 320 --epochs 40
    python tools/train.py --cfg yolov5l-swint.yaml --summary
    python tools/train.py --resume runs/train/exp/weights/last.pt
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done."""
    flags = parser()
    args = flags.parse_args(argv)
    # Imported late: --help answers at once.
    from swin_yolo.engine.run_folder import latest_checkpoint, new_run_folder
    from swin_yolo.engine.train import resume, train

    if args.summary:
        take_only(("cfg", "head", "imgsz", "summary"), args, flags)
        print(_summary(args.cfg, args.head, args.imgsz))
        return 0
    if args.resume is not None:
        take_only(("data", "device", "workers", "project", "resume"), args, flags)
        last = args.resume or latest_checkpoint(args.project)
        print_evaluation(resume(last, data=args.data, device=args.device, workers=args.workers))
        return 0
    evaluation = train(
        args.cfg,
        args.data or "demo.yaml",
        save_dir=new_run_folder(args.project, args.name, exist_ok=args.exist_ok),
        head=args.head,
        weights=args.weights,
        trust=args.trust,
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
        layer_decay=args.layer_decay,
        cache=args.cache,
        seed=args.seed,
    )
    print_evaluation(evaluation)
    return 0


def _summary(cfg: str, head: str | None, imgsz: int) -> str:
    from swin_yolo.engine.model import build_model, profile_rows
    from swin_yolo.report.model_table import format_rows

    return format_rows(profile_rows(build_model(cfg, head=head), imgsz), name=Path(cfg).stem, imgsz=(imgsz, imgsz))


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("train", HELP)
    add = parser.add_argument
    add("--cfg", default="yolov5s-swin.yaml", help="model YAML, a file or a name (default %(default)s)")
    add("--data", help="dataset YAML, folder in COCO, Roboflow or CVAT layout, or shipped name (default demo.yaml)")
    add("--head", choices=("anchor",), help="anchor: YOLOv5's anchor-based head in the place of the YAML's")
    weights = "to start from: a detector, YOLOv5's too, or an ImageNet Swin (default, and '': fresh weights)"
    add("--weights", type=lambda text: Path(text) if text else None, metavar="FILE", help=weights)
    add("--trust", action="store_true", help="open --weights even if it runs code: only if you know who made it")
    add("--hyp", type=Path, help="YAML of recipe keys that replace the default recipe's")
    add("--epochs", type=positive, default=100, help="passes over the train split (default %(default)s)")
    add("--batch-size", type=positive, default=16, help="images per batch (default %(default)s)")
    add("--imgsz", "--img", "--img-size", type=positive, default=640, help="image side, pixels (default %(default)s)")
    add("--device", default="", help="cpu, 0, or 0,1 for DDP (default: the first GPU, or the CPU)")
    add("--workers", type=count, default=2, help="processes that load images (default %(default)s)")
    add("--optimizer", choices=("AdamW", "SGD"), help="in place of the recipe's")
    add("--cos-lr", action=argparse.BooleanOptionalAction, help="cosine schedule, in place of the recipe's")
    add("--patience", type=positive, default=100, help="epochs without a better AP to stop after (default 100)")
    add(
        "--freeze",
        nargs="+",
        metavar="WHAT",
        help="what stays as it is: N for the first N rows; several numbers, backbone, layers as C3, modules as 6.cv1",
    )
    add("--layer-decay", type=fraction, help="each pretrained Swin block learns so many times as fast as the next one")
    add("--cache", nargs="?", const="ram", choices=("ram", "disk"), help="keep decoded images (default: do not)")
    add("--seed", type=seed, default=0, help="of weights, data order and augmentation (default %(default)s)")
    add("--resume", nargs="?", const="", metavar="LAST.PT", help="go on with a stopped run (default: the newest)")
    add("--project", type=Path, default=Path("runs/train"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    add("--summary", action="store_true", help="print rows, shapes, parameters and GFLOPs at --imgsz, and stop")
    return parser
