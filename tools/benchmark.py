"""`swin-yolo benchmark` as a script; see `python tools/benchmark.py --help`."""

import sys

from swin_yolo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["benchmark", *sys.argv[1:]]))
