"""Peak memory of detection in a long video against a short one."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from swin_yolo.benchmark.report import Table
from swin_yolo.engine.model import build_model

SHORT = 200
SIZE_WH, FPS = (320, 240), 25

# Run in a process of its own, whose peak is that of the run.
_PROGRAM = """
import json, sys
from swin_yolo.cli import main
from swin_yolo.machine import peak_resident_bytes
code = main(sys.argv[1:])
print("\\n" + json.dumps({"code": code, "bytes": peak_resident_bytes()}))
"""


def long_video(frames: int = 20_000, *, imgsz: int = 32, device: str = "cpu") -> Table:
    """Peak resident memory of detecting in `frames` frames of a drawn video, and in the first `SHORT` of them.

    Args:
        frames: length of the long video.
        imgsz: side that frames are scaled to, in pixels; small, since it is the frames that might pile up.
        device: to compute on.
    """
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        weights = Path(folder) / "model.pt"
        torch.manual_seed(0)
        torch.save({"model": build_model("yolov5n.yaml", nc=2)}, weights)
        peaks = {}
        for number in (SHORT, frames):
            source = drawn_video(Path(folder) / f"{number}.avi", number)
            flags = [f"--imgsz={imgsz}", f"--device={device}", "--precision=fp32", f"--project={folder}", "--track"]
            peaks[number] = _peak("detect", f"--weights={weights}", f"--source={source}", *flags)
    growth = peaks[frames] / peaks[SHORT]
    rows = [(f"{number:,} frames", f"{peak / 1e6:,.0f} MB") for number, peak in peaks.items()]
    figures = {str(number): {"bytes": peak} for number, peak in peaks.items()} | {"growth": {"ratio": growth}}
    remark = f"{growth:.3f} times as much. Frames of {SIZE_WH[0]} x {SIZE_WH[1]}, tracked, drawn on and encoded again."
    return Table("Peak memory of a long video", ("", "peak resident memory"), rows, figures, (remark,))


def drawn_video(file: Path, frames: int, size_wh: tuple[int, int] = SIZE_WH) -> Path:
    """Write a video of a block that moves over noise."""
    rng = np.random.default_rng(0)
    grounds = [rng.integers(60, 120, (size_wh[1], size_wh[0], 3), dtype=np.uint8) for _ in range(8)]
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), FPS, size_wh)
    for i in range(frames):
        image = grounds[i % len(grounds)].copy()
        left = 2 * i % (size_wh[0] - 40)
        image[100:140, left : left + 40] = (40, 60, 220)
        writer.write(image)
    writer.release()
    return file


def _peak(*argv: str) -> int:
    """Bytes that a command of ours takes at most."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *argv], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["code"]:
        raise RuntimeError(f"{' '.join(argv)}: ended with {said['code']}: {done.stderr[-500:]}")
    return said["bytes"]
