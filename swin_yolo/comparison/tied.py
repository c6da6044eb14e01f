"""A command of ours that ends when the process that started it does; run as `python -m swin_yolo.comparison.tied`.

    python -m swin_yolo.comparison.tied CORES COMMAND ...

CORES are numbers of CPU cores to keep to, as 0,1, or "all". Standard input is a pipe that nothing is written to: where
it ends, so has the other side, however it died, and this process ends at once with all that it has started.
"""

import os
import signal
import sys
import threading


def end_with_parent() -> None:
    """Wait for the end of standard input, then end this process and its children at once."""
    while os.read(0, 1):  # not by sys.stdin, whose lock a thread that is still reading would hold when Python ends
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def main(cores: str, *command: str) -> int:
    """Run a command of `swin_yolo.cli`; gives its exit code."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    if cores != "all":
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    from swin_yolo.cli import main as run  # after that: PyTorch counts the cores when it is imported

    return run(command)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
