"""The command line: `swin-yolo COMMAND`, and the same commands as tools/COMMAND.py."""

import sys
from collections.abc import Callable, Sequence

from swin_yolo.errors import InputError

from . import benchmark, compare, convert, detect, export, train, val, visualize, yolo

HELP = """Swin Transformer layers in YOLO, on COCO-format data.

    swin-yolo train --cfg yolov5s-swin.yaml --data demo.yaml --epochs 40
    swin-yolo val --weights runs/train/exp/weights/best.pt --data demo.yaml
    swin-yolo detect --weights runs/train/exp/weights/best.pt --source video.mp4
    swin-yolo export --weights runs/train/exp/weights/best.pt --include onnx openvino
    swin-yolo compare --cfg yolov5n.yaml yolov5n-swin.yaml --data demo.yaml --epochs 40
    swin-yolo visualize --weights runs/train/exp/weights/best.pt --source image.jpg
    swin-yolo benchmark --sections video
    swin-yolo convert best.pt best.safetensors
    swin-yolo yolo predict model=best.pt source=image.jpg     (the ultralytics command line, with our layers)

Each command has --help.
"""

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.run,
    "val": val.run,
    "detect": detect.run,
    "export": export.run,
    "compare": compare.run,
    "visualize": visualize.run,
    "benchmark": benchmark.run,
    "convert": convert.run,
    "yolo": yolo.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 1 for an incomplete result, 2 for a mistake in what was given, 130 when stopped."""
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
        # From a process that loads images, the message comes behind that process' traceback.
        message = str(e).splitlines()[-1].removeprefix(f"{InputError.__module__}.InputError: ")
        print(f"swin-yolo {command}: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def console() -> None:
    """Entry point of the console script."""
    raise SystemExit(main())
