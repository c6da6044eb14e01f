"""`swin-yolo detect` as a script; see `python tools/detect.py --help`."""

import sys

from swin_yolo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["detect", *sys.argv[1:]]))
