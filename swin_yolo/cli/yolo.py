"""`swin-yolo yolo`: the ultralytics command line."""

import sys
from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """The ultralytics command line in this process, where our layers are registered."""
    from ultralytics.cfg import entrypoint

    sys.argv[:] = ["yolo", *argv]  # the list itself, which several modules of ultralytics keep
    entrypoint()
    return 0
