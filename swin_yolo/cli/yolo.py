"""`swin-yolo yolo`: the ultralytics command line."""

import sys
from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """The ultralytics command line in this process, where our layers are registered."""
    from ultralytics import cfg

    sys.argv = cfg.ARGV = ["yolo", *argv]  # cfg keeps the arguments that the process was started with
    cfg.entrypoint()
    return 0
