"""`swin-yolo train` as a script; see `python tools/train.py --help`."""

import sys

from swin_yolo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
