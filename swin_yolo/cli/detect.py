"""`swin-yolo detect`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .inference import add_precision, add_slicing, chosen_precision, chosen_slicing
from .parsing import command_parser, count, fraction, positive

if TYPE_CHECKING:
    from swin_yolo.engine.detect import DetectionRun

HELP = """Detect objects in images, videos, cameras and streams; writes annotated copies and detections.json.

    python tools/detect.py --weights best.pt --source video.mp4
    python tools/detect.py --weights best.pt --source images/ --classes person car --save-txt
    python tools/detect.py --weights best.pt --source rtsp://camera/stream --track
    python tools/detect.py --weights best.pt --source "drone/*.jpg" --slice 640 --overlap 0.2

Ends with 0, with 1 if something is missing in the output (files that could not be read, a video that breaks off, a
full disk), with 2 for a mistake in what was given, with 130 after Ctrl-C; all files are finished in each case.
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0 when done, 1 if something is missing in the output, 130 when interrupted."""
    flags = parser()
    args = flags.parse_args(argv)
    if len(args.imgsz or ()) > 2:
        flags.error(f"--imgsz: expected one number, or height and width, got {len(args.imgsz)} numbers")
    precision, slicing = chosen_precision(args, flags), chosen_slicing(args, flags)
    from swin_yolo.engine.detect import detect
    from swin_yolo.engine.run_folder import new_run_folder

    done = detect(
        args.weights,
        args.source,
        save_dir=new_run_folder(args.project, args.name, exist_ok=args.exist_ok),
        imgsz=args.imgsz and (args.imgsz[0] if len(args.imgsz) == 1 else tuple(args.imgsz)),
        batch_size=args.batch_size,
        device=args.device,
        precision=precision,
        trust=args.trust,
        conf_thres=args.conf_thres,
        iou_thres=args.iou_thres,
        max_det=args.max_det,
        classes=args.classes,
        vid_stride=args.vid_stride,
        track=args.track,
        slicing=slicing,
        save=not args.nosave,
        save_txt=args.save_txt,
        save_csv=args.save_csv,
        save_crop=args.save_crop,
        codec=args.codec,
        line_thickness=args.line_thickness,
        hide_labels=args.hide_labels,
        view_img=args.view_img,
        reconnect_seconds=args.reconnect,
    )
    return report(done)


def report(done: "DetectionRun") -> int:
    """Print what was found, where it was written and what is missing; gives the exit code."""
    boxes = ", ".join(f"{number} {name}" for name, number in done.boxes.most_common())
    print(f"{done.frames} frames, {done.boxes.total()} boxes{': ' if boxes else ''}{boxes}")
    print(f"Written to {done.save_dir}")
    if done.interrupted:
        print("swin-yolo detect: interrupted; what was done until then is written", file=sys.stderr)
    for fault in done.faults:
        print(f"swin-yolo detect: {fault}", file=sys.stderr)
    if done.faults:
        number = f"{len(done.faults)} fault{'s' if len(done.faults) > 1 else ''}"
        print(f"swin-yolo detect: {number}; something is missing in the output", file=sys.stderr)
    return 130 if done.interrupted else 1 if done.faults else 0


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = command_parser("detect", HELP)
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="checkpoint (.pt, .safetensors) or exported model (.onnx, ...)")
    add("--trust", action="store_true", help="open --weights even if it runs code: only if you know who made it")
    source = "image, video, folder, pattern, .txt list, camera number or URL; one or more"
    add("--source", nargs="+", required=True, metavar="SOURCE", help=source)
    imgsz = "longer side, or height and width, pixels (default: 640, or the export's)"
    add("--imgsz", "--img", "--img-size", type=positive, nargs="+", metavar="PIXELS", help=imgsz)
    add("--batch-size", type=positive, default=4, help="images per forward pass, 1 for a stream (default %(default)s)")
    add("--device", default="", help="cpu or 0 (default: the first GPU, or the CPU)")
    add_precision(parser, default="auto")
    add("--conf-thres", type=fraction, default=0.25, help="least score of a detection (default %(default)s)")
    add("--iou-thres", type=fraction, default=0.45, help="IoU of NMS (default %(default)s)")
    add("--max-det", type=positive, default=300, help="most detections per frame (default %(default)s)")
    add("--classes", nargs="+", metavar="CLASS", help="names or numbers of the classes to find (default: all)")
    add("--vid-stride", type=positive, default=1, help="take every n-th frame of a video (default %(default)s)")
    track = "give objects ids across frames (alone: bytetrack); a track starts from --conf-thres on"
    add("--track", nargs="?", const="bytetrack", choices=("bytetrack", "botsort"), help=track)
    add_slicing(parser)
    add("--nosave", action="store_true", help="write no annotated images and videos")
    add("--save-txt", action="store_true", help="write YOLO label files")
    add("--save-csv", action="store_true", help="write detections.csv")
    add("--save-crop", action="store_true", help="write every box as an image")
    codecs = ("h264", "vp8", "mpeg4", "mjpeg")
    add("--codec", choices=codecs, help="of videos (default: the first of these that this OpenCV can write)")
    add("--line-thickness", type=positive, help="of boxes, pixels (default: by the size of the frame)")
    add("--hide-labels", action="store_true", help="draw boxes without class and score")
    add("--view-img", action="store_true", help="show the frames in a window; q ends the run")
    add("--reconnect", type=count, default=60, help="seconds to try to reach a dropped stream (default %(default)s)")
    add("--project", type=Path, default=Path("runs/detect"), help="folder of runs (default %(default)s)")
    add("--name", default="exp", help="folder of this run in it; exp-2 ... if taken (default %(default)s)")
    add("--exist-ok", action="store_true", help="write into the folder even if it is taken")
    return parser
