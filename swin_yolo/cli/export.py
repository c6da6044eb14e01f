"""`swin-yolo export`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsing import command_parser, positive

if TYPE_CHECKING:
    from swin_yolo.engine.export import Exported

HELP = """Export a checkpoint as ONNX, OpenVINO, TorchScript or ncnn, next to itself, and compare each with PyTorch.

    python tools/export.py --weights runs/train/exp/weights/best.pt --include onnx openvino torchscript
    python tools/export.py --weights best.pt --include onnx --dynamic
    python tools/export.py --weights best.pt --include openvino --int8 --data data/bccd.yaml --imgsz 320
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done, 1 when an export failed or differs from PyTorch."""
    args = parser().parse_args(argv)
    if len(args.imgsz) > 2:
        parser().error(f"argument --imgsz: expected one number or two, got {len(args.imgsz)}")
    from swin_yolo.engine.export import ExportError, export

    exports = export(
        args.weights,
        args.include,
        imgsz=args.imgsz[0] if len(args.imgsz) == 1 else tuple(args.imgsz),
        batch_size=args.batch_size,
        dynamic=args.dynamic,
        half=args.half,
        int8=args.int8,
        nms=args.nms,
        opset=args.opset,
        data=args.data,
        device=args.device,
        trust=args.trust,
    )
    try:
        for exported in exports:
            print(format_exported(exported), flush=True)
    except ExportError as e:
        print(f"swin-yolo export: {e}", file=sys.stderr)
        return 1
    return 0


def format_exported(exported: "Exported") -> str:
    """What was written, and how far it is from PyTorch at each size."""
    parts = [exported.file] if exported.file.is_file() else [*exported.file.iterdir()]
    megabytes = sum(part.stat().st_size for part in parts) / 1e6
    worst = max(d.relative for d in exported.differences)
    lines = [f"{exported.file}  ({megabytes:.1f} MB), greatest relative difference from PyTorch {worst:.1e}"]
    lines += [f"    at {d.hw[0]:>4} x {d.hw[1]:<4} {d.relative:.1e}" for d in exported.differences]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("export", HELP)
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="checkpoint, .pt or .safetensors")
    add("--trust", action="store_true", help="open --weights even if it runs code: only if you know who made it")
    add("--include", nargs="+", default=["onnx"], help="onnx, openvino, torchscript, ncnn (default onnx)")
    add("--imgsz", "--img", "--img-size", type=positive, nargs="+", default=[640], help="side, or H W (default 640)")
    add("--batch-size", type=positive, default=1, help="images that the model takes at once (default %(default)s)")
    add("--dynamic", action="store_true", help="let the model take any size and batch")
    add("--half", action="store_true", help="weights in fp16")
    add("--int8", action="store_true", help="8 bits, but for Swin blocks; openvino only, needs --data")
    add("--data", help="dataset that --int8 is calibrated on: YAML, folder or shipped name")
    add("--nms", action="store_true", help="have NMS in the model: score 0.25, IoU 0.7, 300 boxes")
    add("--opset", type=positive, help="version of ONNX's operators (default: the newest that is known to be good)")
    add("--device", default="cpu", help="cpu or 0, to export on (default %(default)s)")
    return parser
