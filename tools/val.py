"""`swin-yolo val` as a script; see `python tools/val.py --help`."""

import sys

from swin_yolo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["val", *sys.argv[1:]]))
