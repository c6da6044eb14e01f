"""`swin-yolo visualize` as a script; see `python tools/visualize.py --help`."""

import sys

from swin_yolo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["visualize", *sys.argv[1:]]))
